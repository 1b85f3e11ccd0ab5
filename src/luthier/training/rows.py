"""From labelled examples to rows of tokens with an answer at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.engine import Session, shortened, truncated
from luthier.models.alternatives import nearest_longer
from luthier.models.answering import label_continuations, render_for
from luthier.models.model import Model
from luthier.models.prompt import Rendered, label_text
from luthier.records import Example


@dataclass(frozen=True, slots=True)
class TrainRow:
    """Prompt and answer as ids, without virtual tokens; the answer starts at `start`."""

    ids: list[int]
    start: int

    @property
    def prompt(self) -> list[int]:
        """What stands before the answer."""
        return self.ids[: self.start]

    @property
    def answer(self) -> list[int]:
        """What is to be learnt."""
        return self.ids[self.start :]

    @property
    def answers(self) -> tuple[list[int], ...]:
        """The answers whose log-probabilities an objective reads: one, unless a subclass has
        more."""
        return (self.answer,)

    @property
    def tokens(self) -> int:
        """Tokens of the prompt with each answer in full, virtual ones left out."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, one for each answer, whose answers end at the right edge; T tokens at most, K of them
    the answer's. `answers_per_row` J: the answers of one training row stand together.

    Decoder: `ids`, `mask`, `positions` (B, T), left-padded; `targets` (B, K), −100 where there is
    none. Encoder–decoder: `ids` and `mask` are the prompt's, right-padded, `positions` None.
    `tokens` counts real ones, prompt and answer.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor | None
    targets: torch.Tensor
    tokens: int
    answers_per_row: int = 1


def rows_for(
    model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int = 0
) -> list[TrainRow]:
    """Tokenise under the model's prompt, leaving space for `virtual_tokens`; the loss will see the
    answers only.

    A generated answer ends in the first stop string (plain text) or EOS (chat), so that the model
    learns to stop. A label does not, for it is chosen among labels, unless it begins another one
    (`models.alternatives`).
    Demonstrations that are the example itself are left out of its prompt, or it could copy.
    """
    decoding, form = model.adaptation.decoding, model.adaptation.prompt.format
    prompts = render_for(model, examples, leave_self_out=True)
    limit = session.context_length
    if session.soft is not None:
        virtual_tokens = max(virtual_tokens, int(session.soft.shape[1]))
    rows = []
    begin_another = _labels_that_begin_another(model, session, prompts)
    for example, prompt in zip(examples, prompts, strict=True):
        answer = prompt.answer_prefix + label_text(example.target, form)
        ends = not decoding.labels or example.target in begin_another
        if ends and not session.encoder_decoder and not prompt.messages:
            answer += decoding.stop[0] if decoding.stop else ""
        ids, start = session.encode_pair(prompt, answer)
        if ends and prompt.messages and session.tokenizer.eos_token_id is not None:
            ids = [*ids, session.tokenizer.eos_token_id]
        # An encoder–decoder's answer has a context of its own.
        length = start if session.encoder_decoder else len(ids)
        if limit is not None and virtual_tokens + length > limit:
            # The same rule as for scoring: the input loses its middle. A long answer loses its end.
            answer_ids = ids[start:][: limit if session.encoder_decoder else limit // 2]
            keep = limit - virtual_tokens - (0 if session.encoder_decoder else len(answer_ids))
            merged = len(session.encode(prompt)) - start  # tokens that begin in the prompt
            head = session.encode(shortened(session, prompt, keep))
            ids = [*truncated(head[: len(head) - merged], keep), *answer_ids]
            start = len(ids) - len(answer_ids)
        rows.append(TrainRow(ids, start))
    return rows


def _labels_that_begin_another(
    model: Model, session: Session, prompts: Sequence[Rendered]
) -> frozenset[str]:
    """The labels whose tokens after these prompts begin those of another label."""
    if not prompts or session.encoder_decoder or not model.adaptation.decoding.labels:
        return frozenset()
    pairs = session.encode_pairs(prompts[0], label_continuations(model, prompts[0]))
    first = min(start for _, start in pairs)
    longer = nearest_longer([ids[first:] for ids, _ in pairs])
    labels = model.adaptation.decoding.labels
    return frozenset(label for label, more in zip(labels, longer, strict=True) if more)


def batch_of(session: Session, rows: Sequence[TrainRow]) -> Batch:
    """Put the session's virtual tokens into rows and pad these, with each answer, into a batch."""
    pad = session.tokenizer.pad_token_id or 0
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    for row in rows:
        prompt = session.insert_virtual(row.prompt, row.start)
        prompts += [prompt] * len(row.answers)
        answers += row.answers
    each = len(answers) // len(rows)
    longest = max(len(a) for a in answers)
    whole = [p + a for p, a in zip(prompts, answers, strict=True)]
    tokens = sum(len(w) for w in whole)
    device = session.device
    if session.encoder_decoder:
        width = max(len(p) for p in prompts)
        ids = torch.tensor([p + [pad] * (width - len(p)) for p in prompts], device=device)
        mask = torch.tensor([[1] * len(p) + [0] * (width - len(p)) for p in prompts])
        targets = torch.tensor([a + [-100] * (longest - len(a)) for a in answers])
        return Batch(ids, mask.to(device), None, targets.to(device), tokens, each)
    width = max(len(w) for w in whole)
    ids = torch.tensor([[pad] * (width - len(w)) + w for w in whole])
    mask = torch.tensor([[0] * (width - len(w)) + [1] * len(w) for w in whole])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    targets = torch.tensor([[-100] * (longest - len(a)) + a for a in answers])
    return Batch(
        ids.to(device), mask.to(device), positions.to(device), targets.to(device), tokens, each
    )


def batches(
    rows: Sequence[TrainRow], *, size: int, seed: int, first: int = 0
) -> Iterator[list[TrainRow]]:
    """Endless batches in an order that depends on seed and step only, so that a resumed fit sees
    what an unbroken one would have. Rows of like length meet: sorted within stretches of 8
    batches."""
    per_epoch = max(1, len(rows) // size)
    step = first
    while True:
        epoch, at = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(rows), generator=generator).tolist()
        stretches = [order[i : i + 8 * size] for i in range(0, len(order), 8 * size)]
        groups = []
        for stretch in stretches:
            stretch.sort(key=lambda i: len(rows[i].ids))
            groups += [stretch[i : i + size] for i in range(0, len(stretch), size)]
        shuffled = torch.randperm(len(groups), generator=generator).tolist()
        for k in range(at, per_epoch):
            yield [rows[i] for i in groups[shuffled[k]]]
            step += 1


def answer_logprobs(
    session: Session, batch: Batch, soft: torch.Tensor | None = None
) -> torch.Tensor:
    """(B, J) natural log-probabilities of each row's answers, summed over their tokens.

    Gradients flow to `soft` (1, P, H), which stands in for the session's virtual tokens. The head
    runs on the answers only.
    """
    embeds = session.embed(batch.ids, soft)
    if session.encoder_decoder:
        logits = session.module(
            inputs_embeds=embeds, attention_mask=batch.mask, labels=batch.targets
        ).logits
    else:
        cache = session.prefix_cache(len(batch.ids))
        mask, positions = batch.mask, batch.positions
        extra: dict[str, Any] = {"use_cache": False}
        if cache is not None:
            past = int(cache.get_seq_length())
            seen = torch.ones(len(mask), past, dtype=mask.dtype, device=mask.device)
            mask = torch.cat([seen, mask], 1)
            positions = positions + past if positions is not None else None
            extra = {"past_key_values": cache, "use_cache": True}
        keep = batch.targets.shape[1] + 1
        out = session.module(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=keep,
            **extra,
        )
        logits = out.logits[:, -keep:-1]
    losses = torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]),
        batch.targets.reshape(-1),
        ignore_index=-100,
        reduction="none",
    )
    return -losses.view(batch.targets.shape).sum(-1).view(-1, batch.answers_per_row)
