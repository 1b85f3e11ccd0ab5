"""The test set through exported files, with plain Transformers and plain PEFT: one text at a time,
no cache, nothing of Luthier's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.content import Usage
from luthier.context import report_progress
from luthier.models.alternatives import told_apart
from luthier.models.answering import label_continuations, render_for, scores_labels
from luthier.models.backend import Generated, ScoreResult
from luthier.models.model import Model
from luthier.models.parsing import from_scores, read_response
from luthier.records import Example

# For a prompt and its continuations the summed log-probabilities, greedy flags, and token ids.
Scored = tuple[list[float], list[bool], list[list[int]]]


@dataclass(frozen=True, slots=True)
class WrittenPrompt:
    """A prompt as text, and the texts of the labels behind it; without any, text is generated."""

    text: str
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rescored:
    """How many of `examples` have the same answer from the exported files, and how many another one
    by a tie that rounding decides. `long` were left out, for they do not fit into the context."""

    equal: int
    examples: int
    long: int = 0
    ties: int = 0

    @property
    def others(self) -> int:
        """How many answers are others."""
        return self.examples - self.equal - self.ties


def written_prompts(model: Model, examples: Sequence[Example]) -> list[WrittenPrompt]:
    """The texts that these examples lead to, the chat template applied."""
    rendered = render_for(model, examples)
    labels = scores_labels(model)
    with model.backend.session(model.adaptation) as session:
        return [
            WrittenPrompt(session.text(r), label_continuations(model, r) if labels else ())
            for r in rendered
        ]


def rescore(
    model: Model,
    examples: Sequence[Example],
    wanted: Sequence[str | None],
    *,
    score: Callable[[WrittenPrompt], Scored | None],
    generate: Callable[[WrittenPrompt], str | None],
    tie_nats: float = 0.0,
) -> Rescored:
    """Answer the examples by `score` or `generate`, which return None for a prompt that is too
    long, and count the answers equal to those `wanted`. Labels less than `tie_nats` apart tie."""
    decoding, equal, long, ties = model.adaptation.decoding, 0, 0, 0
    for done, (prompt, answer) in enumerate(
        zip(written_prompts(model, examples), wanted, strict=True)
    ):
        report_progress(done, len(examples), f"scored again {done} of {len(examples)}")
        if prompt.continuations:
            scored = score(prompt)
            if scored is None:
                long += 1
                continue
            values, flags, tokens = scored
            logprobs, greedy = told_apart(values, flags, [tuple(t) for t in tokens])
            lengths = tuple(len(t) for t in tokens)
            found = from_scores(ScoreResult(logprobs, lengths, greedy, Usage()), decoding)
        else:
            text = generate(prompt)
            if text is None:
                long += 1
                continue
            found = read_response(model, Generated(text, Usage()))
        equal += found.parsed == answer
        scores = found.label_scores or {}
        own, other = scores.get(found.parsed or ""), scores.get(answer or "")
        if found.parsed != answer and own is not None and other is not None:
            ties += own - other < tie_nats
    report_progress(len(examples), len(examples))
    return Rescored(equal, len(examples) - long, long, ties)


class PlainScorer:
    """A Transformers model, or a PEFT model over one, and its tokenizer. `without_bos`: a prefix
    begins with BOS already."""

    def __init__(self, module: Any, tokenizer: Any, model: Model) -> None:
        self.module, self.tokenizer, self.model = module.eval(), tokenizer, model
        adapter = model.adaptation.adapter
        self.without_bos = adapter is not None and adapter.starts_with_bos

    @classmethod
    def of_merged(cls, folder: Path, model: Model) -> PlainScorer:
        """The scorer of a checkpoint."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        module = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        return cls(module, AutoTokenizer.from_pretrained(folder, trust_remote_code=False), model)

    @classmethod
    def of_peft(cls, folder: Path, base: str, model: Model) -> PlainScorer:
        """The scorer of an adapter over its base."""
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        module = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
        return cls(
            PeftModel.from_pretrained(module, str(folder)),
            AutoTokenizer.from_pretrained(base, trust_remote_code=False),
            model,
        )  # fmt: skip

    def ids(self, text: str) -> list[int]:
        """The tokens of a text that stays open."""
        found: list[int] = list(self.tokenizer(text).input_ids)
        if len(found) > 1 and found[-1] == self.tokenizer.eos_token_id:
            found = found[:-1]
        if self.without_bos and found[:1] == [self.tokenizer.bos_token_id]:
            found = found[1:]
        return found

    def rows(self, prompt: WrittenPrompt) -> tuple[int, list[list[int]]]:
        """Where the continuations start, and the tokens of the prompt with each."""
        head = self.ids(prompt.text)
        rows = [self.ids(prompt.text + c) for c in prompt.continuations]
        return min(_common(head, row) for row in rows), rows

    def too_long(self, row: Sequence[int]) -> bool:
        """Whether a row does not fit into the context."""
        limit = self.model.backend.facts.context_length
        return limit is not None and len(row) > limit - 32

    @torch.inference_mode()
    def score(self, prompt: WrittenPrompt) -> Scored | None:
        """The log-probabilities of the labels."""
        start, rows = self.rows(prompt)
        if any(self.too_long(row) for row in rows):
            return None
        values, flags = [], []
        for row in rows:
            logits = self.module(input_ids=torch.tensor([row])).logits[0, -len(row) :]
            logs = logits[start - 1 : -1].float().log_softmax(-1)
            targets = torch.tensor(row[start:])
            values.append(float(logs.gather(-1, targets.unsqueeze(-1)).sum()))
            flags.append(bool((logs.argmax(-1) == targets).all()))
        return values, flags, [row[start:] for row in rows]

    @torch.inference_mode()
    def generate(self, prompt: WrittenPrompt) -> str | None:
        """Greedy text up to a stop string."""
        ids, decoding = self.ids(prompt.text), self.model.adaptation.decoding
        if self.too_long([*ids, *range(decoding.max_new_tokens)]):
            return None
        out = self.module.generate(
            input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=decoding.max_new_tokens,
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            pad_token_id=self.tokenizer.pad_token_id or 0,
        )[0]  # fmt: skip
        return stopped(
            self.tokenizer.decode(out[len(ids) :], skip_special_tokens=True), decoding.stop
        )


def stopped(text: str, stops: Sequence[str]) -> str:
    """The text up to a stop string, as Luthier reads it."""
    start = len(text) - len(text.lstrip())
    found = [at for at in (text.find(mark, start) for mark in stops) if at >= 0]
    return (text[: min(found)] if found else text).strip()


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    most = min(len(first), len(second) - 1)
    return next((i for i in range(most) if first[i] != second[i]), most)
