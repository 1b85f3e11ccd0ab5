"""What befell the requests of an evaluation and bears on its score, in sentences."""

from __future__ import annotations

from luthier.content import Usage


def usage_notes(usage: Usage, examples: int) -> tuple[str, ...]:
    """A sentence for each of: prompts cut to the context, answers lost to thoughts or to a filter,
    thoughts that were cut, tokens that a server did not count."""
    notes = []
    if usage.truncated:
        notes.append(
            f"{usage.truncated} of {examples} prompts were cut to the context: the inputs lost "
            "their middle."
        )
    if usage.thinking:
        notes.append(
            f"{usage.thinking} of {examples} answers ended inside a thought, at the limit of new "
            "tokens (max_new_tokens in the task file): they count as not parsed."
        )
    if usage.cut_thoughts:
        notes.append(
            f"{usage.cut_thoughts} thoughts were cut at their limit (thinking_tokens of "
            "reasoning): the answers follow what there was of them."
        )
    if usage.filtered:
        notes.append(
            f"{usage.filtered} of {examples} answers were withheld by the server's filter."
        )
    if usage.uncounted_calls:
        notes.append("The server did not count its tokens: they are not known.")
    return tuple(notes)
