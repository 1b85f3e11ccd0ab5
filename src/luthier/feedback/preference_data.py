"""From opinions to what a model can learn: pairs, single answers, and what is held out.

On one item people are averaged; where no person judged it, judges and scripts are. Contradictions
that cancel out, and ties, teach nothing and are counted. An edit is better than what it corrects.
Held-out items never train. An eighth of the other prompts chooses learning rates (dev).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean

from luthier.errors import FeedbackError
from luthier.feedback.sample import asked
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Opinion, digest_of
from luthier.models.prompt import PromptFormat
from luthier.records import Example, Kind
from luthier.scoring.judges.consensus import PEOPLE, signed
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.training.reward_training import RewardPair

DEV_SHARE = 1 / 8
FEWEST_PAIRS = 8
BORROWED_FOR_DEV = 16
GRADE_OF = ((2.5, "significantly"), (1.5, "better"), (0.0, "slightly"))
GOOD_RATING, BAD_RATING = 4.0, 2.0


@dataclass(frozen=True, slots=True)
class PreferenceData:
    """What the opinions of a store teach.

    `task` has pairs and single answers in train and dev, held-out pairs in test. `pairs` are those
    of train for a reward model, `held_out` those that measure it; `safety` and `safety_held_out`
    the pairs of which one answer alone was marked unsafe (the safe one is the target). `opinions`
    are the keys of all that went in, `ties` counts items without a winner; `simulated`: scripts
    that play people are among them.
    """

    task: Task
    pairs: tuple[RewardPair, ...]
    held_out: tuple[RewardPair, ...]
    safety: tuple[RewardPair, ...]
    safety_held_out: tuple[RewardPair, ...]
    opinions: tuple[str, ...]
    ties: int
    simulated: bool
    sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def dev_pairs(self) -> tuple[RewardPair, ...]:
        """Pairs of the dev prompts, from which no reward model that trains has learnt."""
        return tuple(RewardPair(e) for e in self.task.dev if e.target and e.rejected)


def preference_data(store: FeedbackStore) -> PreferenceData:
    """Everything the store teaches. FeedbackError below eight pairs or single answers."""
    items = {item.id: item for item in store.items()}
    by_item: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in store.opinions():
        if opinion.kind != "skip":
            by_item[opinion.item].append(opinion)
    pairs: list[tuple[FeedbackItem, RewardPair]] = []
    singles: list[tuple[FeedbackItem, Example]] = []
    safety: list[tuple[FeedbackItem, RewardPair]] = []
    ties = 0
    for id, said in by_item.items():
        item = items[id]
        of_people = [o for o in said if o.source in PEOPLE]
        counted = of_people or said
        preferred = _pair(item, counted)
        ties += preferred is None and any(o.kind == "preference" for o in counted)
        pairs += [(item, p) for p in (preferred, *_edits(item, counted)) if p is not None]
        singles += [(item, e) for e in _singles(item, counted)]
        safety += [(item, p) for p in _safety(item, counted)]
    task = _task(pairs, singles)
    if len(task.train) < FEWEST_PAIRS:
        raise FeedbackError(
            f"{len(task.train)} preferences or thumbs teach too little ({ties} items are ties, "
            f"{len(task.test)} are held out)",
            next_step=f"Judge more: at least {FEWEST_PAIRS}, and some hundred for a useful model.",
        )
    dev = set(task.dev)
    counted_opinions = [o for said in by_item.values() for o in said]
    sources: dict[str, int] = defaultdict(int)
    for opinion in counted_opinions:
        sources[opinion.source] += 1
    return PreferenceData(
        task=task,
        pairs=tuple(p for item, p in pairs if not item.held_out and p.example not in dev),
        held_out=tuple(p for item, p in pairs if item.held_out),
        safety=tuple(p for item, p in safety if not item.held_out),
        safety_held_out=tuple(p for item, p in safety if item.held_out),
        opinions=tuple(sorted(o.key for o in counted_opinions)),
        ties=ties,
        simulated=any(o.simulated for o in counted_opinions),
        sources=dict(sources),
    )


def example_of(item: FeedbackItem, *, target: str = "", rejected: str | None = None) -> Example:
    """What the item asks, with a better and a worse answer; one prompt is one group."""
    group = digest_of([item.prompt, item.context])
    identity = digest_of([item.id, target, rejected])
    return Example(
        identity, asked(item.prompt), target, group, item.context, rejected=rejected
    )  # fmt: skip


def held_out_examples(store: FeedbackStore) -> list[Example]:
    """The prompts that are held out, each once, without answers."""
    found = {e.group: e for e in (example_of(i) for i in store.items() if i.held_out)}
    return list(found.values())


def _pair(item: FeedbackItem, said: Iterable[Opinion]) -> RewardPair | None:
    votes = [signed(o, item) for o in said if o.kind == "preference"]
    if not votes or mean(votes) == 0 or len(item.answers) < 2:
        return None
    strength = mean(votes)
    first, second = sorted(item.answers[:2], key=lambda a: a.id)
    better, worse = (first, second) if strength > 0 else (second, first)
    grade = next(name for least, name in GRADE_OF if abs(strength) >= least)
    return RewardPair(example_of(item, target=better.text, rejected=worse.text), grade)


def _edits(item: FeedbackItem, said: Iterable[Opinion]) -> list[RewardPair]:
    found = []
    for opinion in said:
        answer = item.answer(opinion.answer)
        if opinion.kind == "edit" and answer is not None and opinion.text != answer.text:
            example = example_of(item, target=opinion.text or "", rejected=answer.text)
            found.append(RewardPair(example, "better"))
    return found


def _singles(item: FeedbackItem, said: Sequence[Opinion]) -> list[Example]:
    """Answers that were found good or bad by thumbs or ratings, averaged."""
    found = []
    for answer in item.answers:
        votes = []
        for opinion in said:
            if opinion.answer != answer.id or opinion.value is None:
                continue
            if opinion.kind == "thumb":
                votes.append(1.0 if opinion.value else -1.0)
            elif opinion.kind == "rating":
                votes.append(float(opinion.value >= GOOD_RATING) - (opinion.value <= BAD_RATING))
        if votes and mean(votes) > 0:
            found.append(example_of(item, target=answer.text))
        elif votes and mean(votes) < 0:
            found.append(example_of(item, rejected=answer.text))
    return found


def _safety(item: FeedbackItem, said: Sequence[Opinion]) -> list[RewardPair]:
    if len(item.answers) < 2:
        return []
    marks = {a.id: sum(a.id in o.unsafe for o in said) for a in item.answers[:2]}
    unsafe = [a for a in item.answers[:2] if marks[a.id] * 2 > len(said)]
    safe = [a for a in item.answers[:2] if not marks[a.id]]
    if len(unsafe) != 1 or len(safe) != 1:
        return []
    example = example_of(item, target=safe[0].text, rejected=unsafe[0].text)
    return [RewardPair(example, "significantly")]


def _task(
    pairs: Sequence[tuple[FeedbackItem, RewardPair]],
    singles: Sequence[tuple[FeedbackItem, Example]],
) -> Task:
    examples = [(item, p.example) for item, p in pairs] + list(singles)
    seen = [(item, e) for item, e in examples if not item.held_out]
    by_group = sorted({e.group or "" for _, e in seen})
    dev_groups = set(by_group[:: int(1 / DEV_SHARE)]) if len(by_group) >= FEWEST_PAIRS else set()
    spec = TaskSpec(  # its prompt is the default one: answers are learnt as they were sampled
        name="feedback", instruction="", kind=Kind.CHAT, scorer="chrf", rejected="rejected",
        target_name=PromptFormat().target_name,
    )  # fmt: skip
    return Task(
        spec,
        train=tuple(e for _, e in seen if e.group not in dev_groups),
        dev=tuple(e for _, e in seen if e.group in dev_groups),
        _test=tuple(e for item, e in examples if item.held_out),
    )


def pairs_only(task: Task) -> Task:
    """The task with the examples that have a better and a worse answer; where dev has none of them
    it is taken from train."""
    train = tuple(e for e in task.train if e.target and e.rejected)
    dev = tuple(e for e in task.dev if e.target and e.rejected)
    return replace(task, train=train, dev=dev or train[:BORROWED_FOR_DEV])
