"""What the page and the terminal say of a probe, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.probe.findings import Findings


@dataclass(frozen=True, slots=True)
class PartView:
    """One part: its anchor, its title as a question, and what was found."""

    key: str
    title: str
    sentences: tuple[str, ...]


def part_views(found: Findings) -> list[PartView]:
    """The parts that were asked for, the one that says what to do first."""
    parts = (
        ("advice", "What to try first", found.advice),
        ("familiarity", "How familiar are the documents?", found.familiarity),
        ("traces", "What stands word for word in the corpus?", found.traces),
        ("contamination", "Has it met the test set?", found.contamination),
        ("hallucination", "Where does it make things up?", found.hallucination),
        ("skills", "What can it do?", found.skills),
    )
    return [
        PartView(key, title, tuple(part.sentences()))
        for key, title, part in parts
        if part is not None
    ]
