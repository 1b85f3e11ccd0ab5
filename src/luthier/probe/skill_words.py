"""The skills profile in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.probe.skills import Skill, SkillsProfile

LARGE_SPREAD = 0.1


def skill_sentences(found: SkillsProfile) -> list[str]:
    """What the base can do, what it cannot, the languages, the form of the prompt; at the end what
    is missing."""
    whole = [skill for skill in found.skills if "," not in skill.name]
    able, unable = [s for s in whole if s.shown], [s for s in whole if not s.shown]
    lines = []
    if able:
        lines.append(f"It can do, better than guessing: {_listed(able)}.")
    if unable:
        lines.append(f"No better than guessing: {_listed(unable)}.")
    lines += [*_languages(found), *_formats(found)]
    return [*lines, *([found.lacks] if found.lacks else [])]


def _listed(skills: list[Skill]) -> str:
    return ", ".join(
        f"{s.name} ({100 * (s.score.value or 0.0):.0f} %, chance {100 * (s.chance or 0.0):.0f} %)"
        for s in skills
    )


def _languages(found: SkillsProfile) -> list[str]:
    if not found.languages:
        return []
    handled = [loss.language for loss in found.languages if loss.handled]
    others = [loss for loss in found.languages if not loss.handled]
    if not handled:
        return ["None of the languages that were tried is handled."]
    words = f"It handles {', '.join(handled)}"
    if others:
        first = others[0]
        words += (
            f", and of {len(found.languages)} languages no other; the next is {first.language}, "
            f"which costs it {first.times_english:.1f} times what English does"
        )
    return [f"{words}."]


def _formats(found: SkillsProfile) -> list[str]:
    formats = found.formats
    if formats is None:
        return []
    worst, best = formats.scores[-1], formats.scores[0]
    words = "The form of the prompt matters" if formats.spread >= LARGE_SPREAD else "It is steady"
    return [
        f"{words}: over {len(formats.scores)} prompts that mean the same, {formats.metric} goes "
        f"from {worst.score:.2f} to {best.score:.2f} ({formats.own:.2f} with the task's own) on "
        f"{formats.examples} examples; {100 * formats.changing:.0f} % of the answers change sides."
    ]
