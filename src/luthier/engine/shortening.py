"""A prompt longer than the context: the text of its input loses its middle. Instruction, labels,
demonstrations and the place of the answer stay.

What may be cut, a prompt says itself (`Rendered.inputs`): the text of its input and its passage.
"""

from __future__ import annotations

from luthier.engine.session import Session
from luthier.models.prompt import Rendered, replace_input

GAP = " … "
TRIES = 12


def shortened(session: Session, prompt: Rendered, most: int) -> Rendered:
    """The prompt with at most `most` tokens, cut in the middle of its longest input; as it is where
    it fits, and where no input is left that could be cut."""
    for _ in range(TRIES):
        length = len(session.encode(prompt))
        if length <= most or not prompt.inputs:
            return prompt
        longest = max(prompt.inputs, key=len)
        own = len(session.tokenizer(longest, add_special_tokens=False).input_ids)
        # Tokens are spread unevenly over characters: a little less is kept than the mean says.
        wanted = max(0, own - (length - most) - 4)
        kept = int(0.97 * wanted / max(own, 1) * len(longest.replace(GAP, "")))
        shorter = without_middle(longest, kept)
        if len(shorter) >= len(longest):
            return prompt
        prompt = replace_input(prompt, longest, shorter)
    return prompt


def without_middle(text: str, kept: int) -> str:
    """`kept` characters of a text, half from its beginning and half from its end."""
    head, gap, tail = text.partition(GAP)
    if not gap:
        tail = text
    first = min(len(head), (kept + 1) // 2)
    last = min(len(tail), kept // 2)
    return f"{head[:first].rstrip()}{GAP}{tail[len(tail) - last :].lstrip()}"
