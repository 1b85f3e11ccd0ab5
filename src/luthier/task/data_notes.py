"""Notes about the data of a task, for a reader of the results: gaps, slips and leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

from luthier.records import Example
from luthier.task.label_spellings import quoted, spelling_groups, spelling_notes
from luthier.task.leaks import LeakReport


def data_notes(
    splits: Mapping[str, Sequence[Example]],
    labels: Sequence[str],
    leaks: LeakReport,
    *,
    declared: Collection[str] = (),
) -> list[str]:
    """Sentences about what is missing, misspelt, repeated or leaked in the splits.

    `declared` are the labels that the task file itself lists.
    """
    notes = []
    counts = {part: Counter(e.target for e in some) for part, some in splits.items()}
    absent_in_train = [label for label in labels if not counts["train"][label]]
    absent_in_test = [label for label in labels if not counts["test"][label]]
    for absent, part in ((absent_in_train, "training"), (absent_in_test, "test")):
        if absent:
            notes.append(f"No {part} example has the label {', '.join(absent)}.")
    total = sum(counts.values(), Counter())
    if labels:
        notes += spelling_notes(total, declared)
    alike = {label for group in spelling_groups(total, declared) for label in group}
    notes += _misspelt(total, [label for label in labels if label not in alike])
    leaked = leaks.exact + leaks.near
    if leaked:
        done = "left out of train and dev" if leaks.dropped else "kept, so the scores are too high"
        notes.append(
            f"Examples that occur the same ({leaks.exact:,}) or nearly the same ({leaks.near:,}) "
            f"in another split: {done}."
        )
    if leaks.repeated:
        notes.append(f"Rows that repeat another row of their split: {leaks.repeated:,}, left out.")
    if leaks.conflicting:
        notes.append(f"Inputs that carry more than one label: {leaks.conflicting:,}.")
    if leaks.straddling_groups:
        done = "left out of train and dev" if leaks.dropped else "kept"
        notes.append(f"Groups that occur in two splits: {leaks.straddling_groups:,}, {done}.")
    return notes


def _misspelt(counts: Mapping[str, int], labels: Sequence[str]) -> list[str]:
    """Notes on labels that occur once or twice and are spelt almost like a far commoner one."""
    notes = []
    for label in (label for label in labels if 1 <= counts[label] <= 2):
        commoner = [other for other in labels if counts[other] >= 5 * counts[label]]
        close = get_close_matches(label, commoner, n=1, cutoff=0.85)
        if close:
            often = "once" if counts[label] == 1 else "twice"
            notes.append(
                f"The label {label!r} occurs {often}: is it {close[0]!r}? "
                f"`rename: {{{quoted(label)}: {quoted(close[0])}}}` in the task file would make it "
                "so."
            )
    return notes
