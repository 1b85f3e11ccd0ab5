"""Checks of settings, for the constructors of techniques.

Each raises a TechniqueError with the setting, its value and the next step, before any data is read
or weights are loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from luthier.errors import TechniqueError, did_you_mean
from luthier.techniques.base import Technique


def check_whole_numbers(
    technique: Technique, *, optional: Collection[str] = (), **least: int
) -> None:
    """TechniqueError where a setting is no whole number of at least so much, as in
    `check_whole_numbers(self, rank=1)`. Those that are `optional` may be None."""
    for setting, smallest in least.items():
        value = getattr(technique, setting)
        if value is None and setting in optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
            raise TechniqueError(
                f"{technique.name}: {setting}={value!r} must be a whole number of at least "
                f"{smallest}",
                next_step=_usual(technique, setting),
            )


def check_number(
    technique: Technique, setting: str, *, above: float | None = None,
    least: float | None = None, below: float | None = None, most: float | None = None,
) -> None:  # fmt: skip
    """TechniqueError where a setting is no number within these bounds; those that are None do not
    bind."""
    value = getattr(technique, setting)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = (
        number
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not fits:
        bounds = {"above": above, "of at least": least, "below": below, "of at most": most}
        words = " and ".join(
            f"{how} {bound:g}" for how, bound in bounds.items() if bound is not None
        )
        raise TechniqueError(
            f"{technique.name}: {setting}={value!r} must be a number {words}",
            next_step=_usual(technique, setting),
        )


def check_choices(
    technique: Technique, *, optional: Collection[str] = (), **choices: Sequence[str]
) -> None:
    """TechniqueError where a setting is none of its choices, as in
    `check_choices(self, mode=MODES)`. Those that are `optional` may be None."""
    for setting, allowed in choices.items():
        value = getattr(technique, setting)
        if (value is None and setting in optional) or value in allowed:
            continue
        raise TechniqueError(
            f"{technique.name}: {setting}={value!r} is unknown",
            choices=allowed,
            next_step=did_you_mean(str(value), allowed) or _usual(technique, setting),
        )


def _usual(technique: Technique, setting: str) -> str:
    """The default of a setting, as a next step."""
    default = getattr(type(technique), setting, None)
    return "Leave it out." if default is None else f"The default is {setting}={default!r}."
