"""The engine of a server: it scores and generates for many adaptations of one base at once.

    answer = engine.start(request, adaptation)
    while not answer.finished:
        engine.step()          # one token for every answer under way
    answer.generated

It is used by one thread at a time. Which requests share a batch changes nothing but rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from luthier.content import Usage
from luthier.engine.continuous.decode_slots import DecodeSlots
from luthier.engine.continuous.prefix_store import PrefixStore, StoredPrefix, cut
from luthier.engine.continuous.row_forward import (
    FollowingRow,
    RowOutputs,
    run_rows,
    values_before,
)
from luthier.engine.continuous.shared_adapters import SharedAdapters, SharedEntry
from luthier.engine.generation.choose_tokens import next_tokens
from luthier.engine.generation.decode_loop import compacted
from luthier.engine.generation.generate import sequences_of
from luthier.engine.generation.sequence_state import SequenceState
from luthier.engine.generation.stream import INCOMPLETE, settled_text
from luthier.engine.memory import memory_cap
from luthier.engine.prefix_tree.continuation_tree import continuation_tree
from luthier.engine.prefix_tree.read_scores import read_scores
from luthier.engine.prefix_tree.shared_cache import KeyValues
from luthier.engine.request_rows import TokenRow, token_rows
from luthier.engine.session import Session
from luthier.engine.votes import result_of
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Generated, GenerateRequest, ScoreRequest, ScoreResult

MOST_ROWS = 64
TOKENS_A_BATCH = 2048
SCORING, GENERATION = "scoring", "generation"  # may run in different number formats
STORE_AT_LEAST = 256 << 20
TOGETHER = 8  # fewer rows that follow one node are batched by their width alone
SHARED_AT_LEAST = 16  # a shorter beginning that rows share is computed in each of them


@dataclass(slots=True, eq=False)
class LiveAnswer:
    """An answer under way. `text` is what is certain of it by now.

    `logprobs` has, for each token so far, its text, its log-probability and the likeliest tokens
    there with theirs; empty unless asked for. `truncated`: the prompt was cut.
    """

    sequence: SequenceState
    entry: SharedEntry
    truncated: bool
    top: int | None = None
    logprobs: list[tuple[str, float, dict[str, float]]] = field(default_factory=list)
    computed: int = 0
    cancelled: bool = False
    tokenizer: Any = None

    @property
    def finished(self) -> bool:
        """Whether nothing will be added."""
        return self.sequence.finished or self.cancelled

    @property
    def text(self) -> str:
        """What no later token can change or take back."""
        if self.sequence.finished:
            return self.sequence.text
        return settled_text(self.tokenizer, self.sequence)

    @property
    def raw_text(self) -> str:
        """The same with the white space around it."""
        tokens = [t for t in self.sequence.tokens if t not in self.sequence.ends]
        text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
        found = [at for at in (text.find(mark) for mark in self.sequence.stop) if at >= 0]
        if self.sequence.finished:
            return text[: min(found)] if found else text
        text = text.rstrip(INCOMPLETE)
        parts = [mark[:n] for mark in self.sequence.stop for n in range(1, len(mark))]
        return text[: len(text) - max((len(p) for p in parts if text.endswith(p)), default=0)]

    @property
    def generated(self) -> Generated:
        """The answer, once it is finished."""
        new, prompt = len(self.sequence.tokens), len(self.sequence.prompts[0])
        usage = Usage(prompt, new, self.computed, 1, int(self.truncated))
        return Generated(self.sequence.text, usage, not self.sequence.complete)


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A request for scores as a row: the ids of its prompt and its continuations."""

    entry: SharedEntry
    ids: tuple[int, ...]
    row: TokenRow


class ContinuousEngine:
    """Scores and generates under any adaptation that it `accepts`.

    `module` is the bare base; nobody else may change it while a method runs.
    """

    def __init__(self, module: Any, tokenizer: Any, *, cache_bytes: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.adapters = SharedAdapters(module, tokenizer)
        session = self.adapters.together
        self.store = PrefixStore(store_cap(session) if cache_bytes is None else cache_bytes)
        self.slots = DecodeSlots(session, most=MOST_ROWS)
        self._live: list[LiveAnswer] = []
        self._waiting: list[LiveAnswer] = []

    @property
    def idle(self) -> bool:
        """Whether no answer is under way."""
        return not self._live and not self._waiting

    @property
    def under_way(self) -> int:
        """Answers that are being generated or wait for it."""
        return len(self._live) + len(self._waiting)

    def accepts(self, adaptation: Adaptation) -> bool:
        """Whether requests under this adaptation share batches here."""
        return self.adapters.accepts(adaptation) and adaptation.decoding.guidance == 1.0

    def forget(self) -> None:
        """Let go of all adaptations and of what was read under them; call it while idle."""
        self.adapters = SharedAdapters(self.adapters.together.module, self.tokenizer)
        self.store.forget()

    def score(self, items: Sequence[tuple[ScoreRequest, Adaptation]]) -> list[ScoreResult]:
        """The log-probabilities of continuations, each request under its adaptation."""
        wanted = []
        for request, adaptation in items:
            entry = self.adapters.entry(adaptation)
            (tokens,) = token_rows(entry.session, [request])
            ids = entry.session.insert_virtual(tokens.prefix, len(tokens.prefix))
            tokens = replace(tokens, prefix=tuple(ids))
            wanted.append(_Scored(entry, tuple(entry.moved(ids)), tokens))
        rows, computed = self._following([(w.entry, w.ids) for w in wanted], SCORING)
        for one, following in zip(wanted, rows, strict=True):
            following.tree = continuation_tree(one.row.continuations, following.ids[-1])
        results: dict[int, ScoreResult] = {}
        for batch in _batches(rows):
            out = self._run([rows[i] for i in batch], SCORING)
            values, best = read_scores(out.logits, out.layouts)
            at = 0
            for b, i in enumerate(batch):
                row, sums, greedy = rows[i], [], []
                assert row.tree is not None
                for targets in row.tree.targets:
                    end = at + len(targets)
                    sums.append(sum(values[at:end]))
                    greedy.append(all(best[at:end]))
                    at = end
                spent = computed[i] + len(row.packed)
                results[i] = result_of([(sums, greedy)], [wanted[i].row], spent)
                self._keep(row, out.of_row(b, len(row.ids) - 1))
        self.store.shrink()
        return [results[i] for i in range(len(items))]

    def start(
        self, request: GenerateRequest, adaptation: Adaptation, *, top_logprobs: int | None = None
    ) -> list[LiveAnswer]:
        """Begin to generate: one answer for each sample. `top_logprobs` asks for the tokens'
        log-probabilities and those of so many likeliest ones."""
        entry = self.adapters.entry(adaptation)
        found = sequences_of(entry.session, request, adaptation)
        answers = [
            LiveAnswer(sequence, entry, found.truncated, top_logprobs, tokenizer=self.tokenizer)
            for sequence in found.sequences
        ]
        self._waiting += answers
        return answers

    def step(self) -> None:
        """One token for every answer under way; those that wait join first."""
        self._drop_cancelled()
        live, parts = self._live, []
        if live:
            self.slots.session = self.adapters.together
            lora = self.adapters.lora
            lora.select([a.entry.number for a in live])
            with lora.injected():
                parts.append(self.slots.step([a.sequence.tokens[-1] for a in live]))
            for answer in live:
                answer.computed += 1
        joined, logits = self._join()
        everyone = live + joined
        if logits is not None:
            parts.append(logits)
        if not parts:
            return
        tokens = self._choose(everyone, torch.cat(parts))
        for answer, token in zip(everyone, tokens, strict=True):
            answer.sequence.append(self.tokenizer, token)
        self._live = everyone
        self._settle_rows([i for i, a in enumerate(everyone) if not a.finished])

    def _choose(self, answers: Sequence[LiveAnswer], logits: torch.Tensor) -> list[int]:
        """The tokens that come next, and their log-probabilities where they are wanted."""
        wants = [i for i, a in enumerate(answers) if a.top is not None]
        logs = {i: logits[i].log_softmax(-1) for i in wants}
        sequences = [a.sequence for a in answers]
        even = torch.zeros(len(answers), 1)
        chosen: list[int] = next_tokens([logits.unsqueeze(1).clone()], even, sequences).tolist()
        for i in wants:
            most = logs[i].topk(max(1, answers[i].top or 0))
            names: dict[str, float] = {}
            if answers[i].top:
                for token, value in zip(most.indices.tolist(), most.values.tolist(), strict=True):
                    names.setdefault(self.tokenizer.decode([token]), value)
            piece = self.tokenizer.decode([chosen[i]])
            answers[i].logprobs.append((piece, float(logs[i][chosen[i]]), names))
        return chosen

    def _join(self) -> tuple[list[LiveAnswer], torch.Tensor | None]:
        """Answers that wait and fit take rows behind the live ones: they, and the logits after
        their prompts."""
        joining: list[LiveAnswer] = []
        taken = len(self._live)
        while self._waiting and taken + len(joining) < self.slots.most:
            sequence = self._waiting[0].sequence
            length = self._waiting[0].entry.session.prefix_length + len(sequence.prompts[0])
            if not self.slots.fits(length + sequence.max_tokens) and (joining or self._live):
                break
            joining.append(self._waiting.pop(0))
        if not joining:
            return [], None
        prompts = [(a.entry, tuple(a.entry.moved(a.sequence.prompts[0]))) for a in joining]
        rows, computed = self._following(prompts, GENERATION)
        found: dict[int, torch.Tensor] = {}
        values: dict[int, KeyValues] = {}
        for batch in _batches(rows):
            out = self._run([rows[i] for i in batch], GENERATION)
            for b, i in enumerate(batch):
                found[i] = out.logits[b, -1].float()
                values[i] = out.of_row(b, len(rows[i].ids))
        for i, answer in enumerate(joining):
            row = rows[i]
            answer.computed += computed[i] + len(row.ids)
            path = row.node.path()
            past = sum(node.tokens for node in path)
            whole = joined_values(values_before([path], [past])[0], values[i])
            length = past + len(row.ids)
            self.slots.join(whole, length, longest=length + answer.sequence.max_tokens)
            self._keep(row, values[i])
        self.store.shrink()
        return joining, torch.stack([found[i] for i in range(len(joining))])

    def _following(
        self, wanted: Sequence[tuple[SharedEntry, tuple[int, ...]]], purpose: str
    ) -> tuple[list[FollowingRow], list[int]]:
        """Rows of what is not yet kept, and how many tokens were computed before on behalf of each.

        What several of them begin with is computed once, and kept.
        """
        computed = [0] * len(wanted)
        places: list[tuple[StoredPrefix, int]] = []
        while True:
            places = []
            for entry, ids in wanted:
                root = self.store.root((entry.root, entry.number, purpose), entry.start)
                places.append(self.store.find(root, ids[:-1]))  # the last token is always run
            groups: dict[int, list[int]] = {}
            for i, (node, _) in enumerate(places):
                groups.setdefault(id(node), []).append(i)
            rests = [ids[at:-1] for (_, ids), (_, at) in zip(wanted, places, strict=True)]
            shared = [found for members in groups.values() for found in beginnings(members, rests)]
            if not shared:
                break
            rows = []
            for i, length in shared:
                node, at = places[i]
                ids = wanted[i][1][at : at + length]
                rows.append(FollowingRow(node, ids, wanted[i][0].number))
                computed[i] += length
            for batch in _batches(rows):
                out = self._run([rows[k] for k in batch], purpose)
                for b, k in enumerate(batch):
                    self._keep(rows[k], out.of_row(b, len(rows[k].ids)), whole=True)
        made = []
        for (entry, ids), (node, at) in zip(wanted, places, strict=True):
            self.store.hits += at
            self.store.misses += len(ids) - at
            made.append(FollowingRow(node, ids[at:], entry.number))
        return made, computed

    def _run(self, rows: Sequence[FollowingRow], purpose: str) -> RowOutputs:
        """Run rows under their adapters. Generation stays in the number format of the base."""
        lora = self.adapters.lora
        lora.select([row.adapter for row in rows])
        with lora.injected():
            return run_rows(self.adapters.together, rows, mixed=purpose == SCORING)

    def _keep(self, row: FollowingRow, values: Any, *, whole: bool = False) -> None:
        ids = row.ids if whole else row.ids[:-1]
        if ids:
            node, at = self.store.find(row.node, ids)
            if at < len(ids):
                self.store.add(node, ids[at:], cut(values, at, len(ids)))

    def _drop_cancelled(self) -> None:
        self._waiting = [a for a in self._waiting if not a.cancelled]
        if any(a.cancelled for a in self._live):
            self._settle_rows([i for i, a in enumerate(self._live) if not a.finished])

    def _settle_rows(self, staying: list[int]) -> None:
        """Let the rows of finished answers go."""
        if len(staying) < len(self._live):
            order = compacted(staying)
            self._live = [self._live[i] for i in order]
            self.slots.keep(order)


def store_cap(session: Session) -> int:
    """How many bytes of keys and values are kept: a quarter of what a call may take, and no more
    than the weights take, or `STORE_AT_LEAST` where they are smaller."""
    weights: int = sum(p.numel() * p.element_size() for p in session.module.parameters())
    return min(memory_cap(session.device) // 4, max(STORE_AT_LEAST, weights))


def joined_values(before: KeyValues, after: KeyValues) -> KeyValues:
    """Keys and values one behind the other; there may be none before."""
    if not before:
        return after
    return {
        k: (torch.cat([before[k][0], keys], dim=2), torch.cat([before[k][1], values], dim=2))
        for k, (keys, values) in after.items()
    }


def beginnings(members: Sequence[int], rows: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """What several rows begin with, where it is long enough: (a row of them, how many tokens).

    `members` are the places of the rows to look at.
    """
    if len(members) < 2:
        return []
    length = _shared_length([rows[i] for i in members])
    if length >= SHARED_AT_LEAST:
        return [(members[0], length)]
    branches: dict[int, list[int]] = {}
    for i in members:
        if len(rows[i]) > length:
            branches.setdefault(rows[i][length], []).append(i)
    return [one for branch in branches.values() for one in beginnings(branch, rows)]


def _shared_length(rows: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all rows begin with."""
    first, last = min(rows), max(rows)
    most = min(len(first), len(last))
    return next((i for i in range(most) if first[i] != last[i]), most)


def _batches(rows: Sequence[FollowingRow]) -> list[list[int]]:
    """The places of rows in batches of like width, many that follow one node together."""
    followers = Counter(id(row.node) for row in rows)

    def place(i: int) -> tuple[int, int]:
        node = id(rows[i].node)
        return node if followers[node] >= TOGETHER else 0, len(rows[i].packed)

    order = sorted(range(len(rows)), key=place)
    batches: list[list[int]] = []
    for i in order:
        width = len(rows[i].packed)
        if batches:
            members = batches[-1]
            widest = max(width, *(len(rows[m].packed) for m in members))
            real = width + sum(len(rows[m].packed) for m in members)
            size = widest * (len(members) + 1)
            if size <= TOKENS_A_BATCH and (size <= 512 or real >= 0.7 * size):
                members.append(i)
                continue
        batches.append([i])
    return batches
