"""A study of terms in words: a line for each term, and what they come to."""

from __future__ import annotations

from luthier.report import amounts
from luthier.report.metric_view import metric_name
from luthier.scoring.terms import PairEffect, TermPlan, TermStudy

WIDTH = 60  # characters of a term in a table
PARTS = {"instruction": "", "demonstration": "example: ", "label descriptions": "labels: "}


def term_name(study: TermStudy, number: int) -> str:
    """A term in short, with its part where that is not the instruction."""
    term = study.terms[number]
    text = PARTS.get(term.part, f"{term.part}: ") + " ".join(term.text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def effect_words(study: TermStudy) -> list[str]:
    """The table: each term, its effect with interval, and whether it acts; the largest first."""
    fraction = study.metric not in ("perplexity", "loss")
    rows = []
    for effect in sorted(study.effects.effects, key=lambda e: -abs(e.value)):
        ends = f"{amounts.difference(effect.low, fraction=fraction)} to "
        ends += amounts.difference(effect.high, fraction=fraction)
        mark = "acts" if effect.acts else ""
        value = amounts.difference(effect.value, fraction=fraction)
        rows.append((term_name(study, effect.term), value, ends, mark))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {ends:>{widths[2]}}  {mark}".rstrip()
        for name, value, ends, mark in rows
    ]


def sentences_of(study: TermStudy) -> list[str]:
    """What the study says: which terms act, which are not seen to, which pairs act together."""
    found, metric = study.effects, metric_name(study.metric)
    better = 1 if study.higher_is_better else -1
    said = [
        f"{found.trials:,} {study.counted[0]} {found.units:,} {study.counted[1]}, design "
        f"{found.design}; mean {metric} {study.score:.3f}. An effect is the {metric} with a term "
        'less that without it, with its 95 % interval; "acts" is after Holm\'s correction over all.'
    ]
    helps = [e for e in found.effects if e.acts and better * e.value > 0]
    harms = [e for e in found.effects if e.acts and better * e.value < 0]
    idle = [e for e in found.effects if not e.acts]
    for effects, words in ((helps, "Helps"), (harms, "Harms")):
        if effects:
            names = "; ".join(f"“{term_name(study, e.term)}”" for e in effects)
            said.append(f"{words}: {names}.")
    if idle:
        most = max(e.at_most for e in idle)
        names = "; ".join(f"“{term_name(study, e.term)}”" for e in idle)
        bound = f", and none by more than {most:.3f}" if most < 1e6 else ""
        said.append(f"Not seen to act{bound}: {names}.")
    said += [_together(study, pair) for pair in found.pairs if pair.acts]
    if found.design == "factorial" and not found.pairs and len(study.terms) > 1:
        said.append("Too few trials to tell pairs of terms apart: give more --trials for that.")
    return [*said, *study.notes]


def plan_words(plan: TermPlan, counted: tuple[str, str]) -> list[str]:
    """What a study will take and can show."""
    what = counted[0].partition(" ")[0]
    lines = [
        f"{plan.terms} terms, design {plan.design}: {plan.trials:,} {counted[0]} {plan.units:,} "
        f"{counted[1]}" + (f", and {plan.sheet:,} for the contact sheet." if plan.sheet else ".")
    ]
    pairs = "Pairs of terms are told apart." if plan.pairs else "Pairs are not told apart."
    lines.append(
        f"Shows effects of {plan.smallest:.2f} or more, of scores from 0 to 1, in four of five "
        f"cases. {pairs if plan.design == 'factorial' else ''}".rstrip()
    )
    if plan.seconds is not None:
        total = plan.trials + plan.sheet
        lines.append(f"About {amounts.seconds(plan.seconds)} for {total:,} {what}.")
    return lines


def _together(study: TermStudy, pair: PairEffect) -> str:
    names = [f"“{term_name(study, number)}”" for number in (pair.first, pair.second)]
    singles = [study.effects.effects[number] for number in (pair.first, pair.second)]
    alone = " Neither is seen to act by itself." if not any(e.acts for e in singles) else ""
    return (
        f"{names[0]} and {names[1]} act together: {pair.value:+.3f} beyond what each does alone "
        f"({pair.low:+.3f} to {pair.high:+.3f}).{alone}"
    )
