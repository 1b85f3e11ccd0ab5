"""Scoring with a causal model, by transformers alone: what several texts share is computed once."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)


@dataclasses.dataclass(frozen=True)
class Begun:
    """Keys and values of a prompt, and the logits at its end."""

    cache: Any
    last: Tensor


class CausalScorer:
    """Sums of log-probabilities of what may follow a prompt."""

    writes_dialogue = True  # whether running text can be measured

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        line = self.tokenizer("\n", add_special_tokens=False)["input_ids"]
        self.ends = sorted({self.tokenizer.eos_token_id, *line})

    @torch.inference_mode()
    def start(self, text: str) -> Any:
        """Keys and values of a shared prompt, computed once."""
        ids = self.tokenizer(text)["input_ids"]
        return self.model(torch.tensor([ids]), use_cache=True).past_key_values

    @torch.inference_mode()
    def scores(self, shared: Any, text: str, labels: list[str]) -> list[float]:
        """log p(label | shared prompt, text) for each label, in one batch."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        tails = [self.tokenizer(" " + y, add_special_tokens=False)["input_ids"] for y in labels]
        past = self.model(torch.tensor([ids]), past_key_values=copy.deepcopy(shared))
        return self._follow(Begun(past.past_key_values, past.logits[0, -1]), tails, keep=False)

    @torch.inference_mode()
    def begin(self, prompt: str, said: str = "") -> Begun:
        """A prompt and the beginning of its answer, which tails may follow."""
        ids = self.tokenizer(prompt + said)["input_ids"]
        found = self.model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
        return Begun(found.past_key_values, found.logits[0, -1])

    @torch.inference_mode()
    def tails(self, begun: Begun, tails: list[str]) -> list[float]:
        """log p(tail | what was begun) for each tail, in batches; none changes ``begun``."""
        ids = [self.tokenizer(t, add_special_tokens=False)["input_ids"] for t in tails]
        return self._follow(begun, ids, keep=True)

    def _follow(self, begun: Begun, tails: list[list[int]], *, keep: bool) -> list[float]:
        first = begun.last.log_softmax(-1)
        out = [float(first[t[0]]) for t in tails]
        for i in range(0, len(tails), 128):
            part = tails[i : i + 128]
            longest = max(len(t) for t in part) - 1
            if not longest:
                continue
            x = torch.full((len(part), longest), self.tokenizer.pad_token_id)
            for k, t in enumerate(part):
                x[k, : len(t) - 1] = torch.tensor(t[:-1], dtype=torch.long)
            cache = copy.deepcopy(begun.cache) if keep or len(tails) > 128 else begun.cache
            cache.batch_repeat_interleave(len(part))
            logits = self.model(x, past_key_values=cache).logits.log_softmax(-1)
            for k, t in enumerate(part):
                out[i + k] += sum(float(logits[k, j, t[j + 1]]) for j in range(len(t) - 1))
        return out

    @torch.inference_mode()
    def after(self, begun: Begun, rows: list[list[int]]) -> Tensor:
        """Log-probabilities (rows, V) of what follows each of ``rows``, which are of one length."""
        if not rows[0]:
            return begun.last.log_softmax(-1)[None]
        cache = copy.deepcopy(begun.cache)
        cache.batch_repeat_interleave(len(rows))
        found = self.model(torch.tensor(rows), past_key_values=cache, logits_to_keep=1)
        return found.logits[:, -1].log_softmax(-1)

    @torch.inference_mode()
    def greedy(self, text: str, longest: int) -> str:
        """The likeliest next token, again and again, up to an end."""
        begun = self.begin(text)
        cache, last, said = begun.cache, begun.last, []  # type: Any, Tensor, list[int]
        while len(said) < longest:
            token = int(last.argmax())
            if token in self.ends:
                break
            said.append(token)
            out = self.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache, last = out.past_key_values, out.logits[0, -1]
        return str(self.tokenizer.decode(said)).strip()
