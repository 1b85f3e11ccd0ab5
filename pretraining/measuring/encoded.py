"""Scoring with an encoder–decoder, by transformers alone: a prompt is encoded once for all that may
follow. An answer's score includes its end, as where Luthier scores it. The encoder's products are
in bfloat16 where that is faster, as in training."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pretraining.precision import bfloat16_pays


@dataclasses.dataclass(frozen=True)
class Encoded:
    """States of a prompt (1, S, H), and the beginning of the answer."""

    states: Tensor
    said: str


class EncodedScorer:
    """The same questions as of a causal model; the prompt and the answer stand apart."""

    writes_dialogue = False

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.model: PreTrainedModel = AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self.ends = [int(self.tokenizer.eos_token_id)]
        ids = self.tokenizer("a")["input_ids"]
        alone = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        # What opens every answer: the start token, and what the tokenizer puts before a text.
        self.opening = [int(self.model.config.decoder_start_token_id), *ids[: ids.index(alone[0])]]
        self._last: tuple[str, Tensor] | None = None
        self._begun: tuple[Tensor, EncoderDecoderCache] | None = None

    def _encode(self, text: str) -> Tensor:
        if self._last is None or self._last[0] != text:
            most = int(self.model.config.max_position_embeddings)
            ids = self.tokenizer(text)["input_ids"]
            if len(ids) > most:  # the end of a prompt is what it asks
                ids = [ids[0], *ids[len(ids) - most + 1 :]]
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
                states = self.model.get_encoder()(torch.tensor([ids])).last_hidden_state
            self._last = (text, states.float())
        return self._last[1]

    def _opened(self, states: Tensor) -> EncoderDecoderCache:
        """Keys and values of a prompt and of all but the last token that opens an answer, computed
        once for each prompt."""
        if self._begun is None or self._begun[0] is not states:
            cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
            self.model.get_decoder()(
                input_ids=torch.tensor([self.opening[:-1]]),
                encoder_hidden_states=states,
                past_key_values=cache,
            )
            self._begun = (states, cache)
        return self._begun[1]

    def start(self, text: str) -> str:
        """What several prompts begin with; nothing can be kept of it."""
        return text

    @torch.inference_mode()
    def scores(self, shared: str, text: str, labels: list[str]) -> list[float]:
        """log p(label, end | shared prompt, text) for each label."""
        states = self._encode(shared + text)
        wanted = [self.tokenizer(y, add_special_tokens=False)["input_ids"] for y in labels]
        return self._sums(states, [], [[*w, *self.ends] for w in wanted])

    def _sums(self, states: Tensor, before: list[int], wanted: list[list[int]]) -> list[float]:
        """Log-probability of each of ``wanted`` after ``before``, which is decoded once."""
        decoder, bias = self.model.get_decoder(), self.model.final_logits_bias
        start, last = self._opened(states), self.opening[-1]
        if before:
            start = copy.deepcopy(start)
            decoder(
                input_ids=torch.tensor([[last, *before[:-1]]]),
                encoder_hidden_states=states,
                past_key_values=start,
            )
            last = before[-1]
        out: list[float] = []
        for i in range(0, len(wanted), 64):
            part = wanted[i : i + 64]
            longest = max(map(len, part))
            x = torch.full((len(part), longest), int(self.tokenizer.pad_token_id))
            for k, w in enumerate(part):
                x[k, : len(w)] = torch.tensor([last, *w[:-1]])
            cache = copy.deepcopy(start)
            cache.batch_repeat_interleave(len(part))
            hidden = decoder(
                input_ids=x,
                encoder_hidden_states=states.expand(len(part), -1, -1),
                past_key_values=cache,
            ).last_hidden_state
            at = [(k, j) for k, w in enumerate(part) for j in range(len(w))]
            rows, places = torch.tensor(at).unbind(1)
            logs = (self.model.lm_head(hidden[rows, places]) + bias).log_softmax(-1)
            each = logs.gather(1, torch.tensor([t for w in part for t in w])[:, None])[:, 0]
            sums = torch.zeros(len(part)).index_add(0, rows, each)
            out += sums.tolist()
        return out

    @torch.inference_mode()
    def begin(self, prompt: str, said: str = "") -> Encoded:
        """A prompt and the beginning of its answer, which tails may follow."""
        return Encoded(self._encode(prompt), said)

    @torch.inference_mode()
    def tails(self, begun: Encoded, tails: list[str]) -> list[float]:
        """log p(tail | what was begun) for each tail, but for a summand they share."""
        whole = [
            self.tokenizer(begun.said + t, add_special_tokens=False)["input_ids"] for t in tails
        ]
        same = 0
        while all(len(w) > same + 1 and w[same] == whole[0][same] for w in whole):
            same += 1
        return self._sums(begun.states, whole[0][:same], [w[same:] for w in whole])

    @torch.inference_mode()
    def after(self, begun: Encoded, rows: list[list[int]]) -> Tensor:
        """Log-probabilities (rows, V) of what follows each of ``rows``, which are of one length."""
        cache = copy.deepcopy(self._opened(begun.states))
        cache.batch_repeat_interleave(len(rows))
        hidden = self.model.get_decoder()(
            input_ids=torch.tensor([[self.opening[-1], *r] for r in rows]),
            encoder_hidden_states=begun.states.expand(len(rows), -1, -1),
            past_key_values=cache,
        ).last_hidden_state[:, -1]
        return (self.model.lm_head(hidden) + self.model.final_logits_bias).log_softmax(-1)

    @torch.inference_mode()
    def greedy(self, text: str, longest: int) -> str:
        """The likeliest next token, again and again, up to the end."""
        begun, said = self.begin(text), []  # type: Encoded, list[int]
        while len(said) < longest:
            token = int(self.after(begun, [said])[0].argmax())
            if token in self.ends:
                break
            said.append(token)
        return str(self.tokenizer.decode(said)).strip()
