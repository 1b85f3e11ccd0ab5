"""V1 … Vn: what changed, what got better, what got worse.

Win rates come from opinions on held-out items on which two models met (`feedback sample V1 V0`), a
tie counting half. Forgetting is the loss on text that has nothing to do with the task, and the
score of a task that the model had before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import FeedbackError
from luthier.feedback.reward_report import Accuracy, accuracy
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Opinion, TunedModel
from luthier.scoring.judges.consensus import PEOPLE, signed


@dataclass(frozen=True, slots=True)
class Round:
    """One model of the loop, and how it fared against its parent and against the first one.

    `judged_by` says whose opinions the win rates rest on; `simulated`: scripts that play people.
    """

    name: str
    parent: str | None
    method: str
    folder: str
    opinions: int
    against_parent: Accuracy
    against_first: Accuracy
    judged_by: tuple[str, ...]
    simulated: bool
    kl: float | None
    forgetting: dict[str, Any]
    reward_accuracy: float | None
    drift: float | None
    notes: tuple[str, ...]


def rounds(store: FeedbackStore) -> list[Round]:
    """All models of the store with their win rates. FeedbackError where there is none."""
    models = store.models()
    if not models:
        raise FeedbackError(
            "There is no round yet", next_step="Train one: luthier feedback train --method dpo."
        )
    met, sources, simulated = _meetings(store)
    by_id = {m.id: m for m in models}
    first = models[0].name
    found = []
    for model in models:
        parent = by_id.get(model.parent or "")
        record: dict[str, Any] = dict(model.record)
        own = met[model.name, parent.name] if parent is not None else []
        base = met[model.name, first] if model.name != first else []
        measured: dict[str, Any] = record.get("measured") or {}
        notes = [*record.get("fit", {}).get("notes", ())]
        if record.get("warning"):
            notes.append(record["warning"])
        found.append(
            Round(
                name=model.name,
                parent=parent.name if parent is not None else None,
                method=record.get("method", model.method),
                folder=model.folder,
                opinions=record.get("opinions", 0),
                against_parent=accuracy(own),
                against_first=accuracy(base),
                judged_by=tuple(sorted(sources[model.name])),
                simulated=bool(record.get("simulated")) or model.name in simulated,
                kl=measured.get("kl"),
                forgetting={
                    k: v for k, v in measured.items() if k in ("task_score", "off_task_bits")
                },
                reward_accuracy=(record.get("reward") or {}).get("accuracy", {}).get("value"),
                drift=record.get("drift"),
                notes=tuple(notes),
            )
        )
    return found


def _meetings(
    store: FeedbackStore,
) -> tuple[dict[tuple[str, str], list[float]], dict[str, set[str]], set[str]]:
    """Wins (1), ties (½) and losses (0) of each model against each other on held-out items; whose
    opinions they are; and the models that scripts judged in people's place."""
    items = {item.id: item for item in store.items() if item.held_out}
    said: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in store.opinions():
        if opinion.kind == "preference" and opinion.item in items:
            said[opinion.item].append(opinion)
    met: dict[tuple[str, str], list[float]] = defaultdict(list)
    sources: dict[str, set[str]] = defaultdict(set)
    simulated: set[str] = set()
    for id, opinions in said.items():
        names = _models_of(items[id])
        if names is None:
            continue
        people = [o for o in opinions if o.source in PEOPLE]
        counted = people or opinions
        total = sum(signed(o, items[id]) for o in counted)
        value = 0.5 if total == 0 else float(total > 0)
        met[names].append(value)
        met[names[1], names[0]].append(1 - value)
        for name in names:
            sources[name] |= {o.source for o in counted}
            if any(o.simulated for o in counted):
                simulated.add(name)
    return met, sources, simulated


def _models_of(item: FeedbackItem) -> tuple[str, str] | None:
    """The models of the two answers, in the order of their ids; None where it is one model."""
    if len(item.answers) != 2:
        return None
    first, second = sorted(item.answers, key=lambda a: a.id)
    if not first.model or not second.model or first.model == second.model:
        return None
    return first.model, second.model


def lineage_lines(models: Sequence[TunedModel]) -> list[str]:
    """The models as a tree, forks below their parent."""
    children: dict[str | None, list[TunedModel]] = defaultdict(list)
    ids = {m.id for m in models}
    for model in models:
        children[model.parent if model.parent in ids else None].append(model)
    lines: list[str] = []

    def walk(parent: str | None, depth: int) -> None:
        for model in children[parent]:
            lines.append(f"{'  ' * depth}{model.name} ({model.method})")
            walk(model.id, depth + 1)

    walk(None, 0)
    return lines
