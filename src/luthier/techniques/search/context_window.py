"""How much fits into the model's context window: a prompt that is cut off is another prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.models.answering import label_continuations, render_for, wants_chat
from luthier.models.drawing_prompt import draws
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, render
from luthier.records import Example
from luthier.techniques.search.token_budget import prompt_text

ASSUMED_CONTEXT = 4096  # tokens, where a backend does not say (endpoints)
CHAT_MARKUP = 8  # tokens a chat template may put around one message
MOST_MEASURED = 200  # inputs whose length is measured


def context_length(model: Model) -> int:
    """Tokens for prompt and answer together, less what a soft prompt takes."""
    length = model.backend.facts.context_length or ASSUMED_CONTEXT
    soft = model.adaptation.soft_prompt
    adapter = model.adaptation.adapter
    virtual = 0 if soft is None else int(soft.tensor.shape[1])
    if adapter is not None:
        virtual += int(adapter.config.get("num_virtual_tokens") or 0)
    return length - virtual


def answer_tokens(model: Model) -> int:
    """Tokens to keep free for the answer: the longest label, or all that may be generated."""
    decoding = model.adaptation.decoding
    if not decoding.labels:
        return decoding.max_new_tokens
    probe = render_for(model, [Example(id="", input="", target="")])[0]
    return max(model.backend.count_tokens(c) + 1 for c in label_continuations(model, probe))


def tokens_needed(model: Model, examples: Sequence[Example]) -> int:
    """Tokens of the longest of these inputs with its prompt and its answer.

    The three longest prompts (in characters) among the 99 % shortest inputs are counted: one
    outlier shall not forbid a prompt that suits all other inputs. Inputs that take more than half
    the context do not count either: they are cut (`engine.shortening`).
    """
    kept = [e for e in typical_inputs(examples) if not _is_cut(model, e)]
    inputs = kept or [Example(id="", input="", target="")]
    prompts = render_for(model, inputs)
    longest = sorted((prompt_text(p) for p in prompts), key=len)[-3:]
    markup = CHAT_MARKUP * max(len(p.messages) for p in prompts)
    tokens = max(model.backend.count_tokens(text) for text in longest)
    return tokens + markup + answer_tokens(model)


def _is_cut(model: Model, example: Example) -> bool:
    """Whether an input with its passage takes more than half the context."""
    most = context_length(model) // 2
    text = f"{example.context or ''}\n{example.text}"
    return len(text) > most and model.backend.count_tokens(text) > most


def fits(model: Model, examples: Sequence[Example]) -> bool:
    """Whether prompts and answers for these inputs stay within the context."""
    return tokens_needed(model, examples) <= context_length(model)


def typical_inputs(examples: Sequence[Example]) -> list[Example]:
    """Up to `MOST_MEASURED` examples, without the longest 1 %."""
    by_length = sorted(examples, key=lambda e: len(e.text) + len(e.context or ""))
    kept = by_length[: max(1, int(len(by_length) * 0.99))]
    step = max(1, len(kept) // MOST_MEASURED)
    return kept[::-1][::step]


def shrink_to_context(model: Model, examples: Sequence[Example]) -> tuple[Model, tuple[str, ...]]:
    """The model with a prompt that fits, and a sentence for each thing that was left out.

    Label descriptions are left out first, then the list of labels.
    """
    if draws(model):
        return model, ()  # how many prompts were cut is counted as they are drawn
    notes: list[str] = []
    prompt = model.adaptation.prompt
    if prompt.label_descriptions and not fits(model, examples):
        prompt = replace(prompt, label_descriptions=())
        model = model.adapt(prompt=prompt)
        notes.append("Label descriptions were left out: the prompt did not fit the context.")
    if prompt.labels and prompt.format.list_labels and not fits(model, examples):
        prompt = replace(prompt, format=replace(prompt.format, list_labels=False))
        model = model.adapt(prompt=prompt)
        notes.append("The list of labels was left out: the prompt did not fit the context.")
    if not fits(model, examples) or any(_is_cut(model, e) for e in typical_inputs(examples)):
        notes.append(
            f"Some prompts are longer than the model's context of {context_length(model)} tokens: "
            "their inputs lose their middle."
        )
    return model, tuple(notes)


def demonstration_tokens(model: Model, prompt: Prompt, pool: Sequence[Demonstration]) -> list[int]:
    """The tokens that each demonstration of the pool takes when `prompt` shows it."""
    chat = wants_chat(model, prompt)
    bare = Prompt(format=prompt.format)
    count = model.backend.count_tokens
    empty = count(prompt_text(render(bare, "", demonstrations=(), chat=chat)))
    markup = 2 * CHAT_MARKUP if chat else 1
    return [
        count(prompt_text(render(bare, "", demonstrations=(d,), chat=chat))) - empty + markup
        for d in pool
    ]


def tokens_for_demonstrations(model: Model, prompt: Prompt, examples: Sequence[Example]) -> int:
    """Tokens left for demonstrations beside the longest typical input; may be negative."""
    alone = model.adapt(prompt=replace(prompt, demonstrations=(), selection="all", shots=0))
    return context_length(model) - tokens_needed(alone, examples)
