"""The rule of the advice: from measurements to an expected score of each technique, and a ranking.

It is a table (docs/guides/probe.md) with the constants below, fixed before the last six tasks of
docs/advice.md were run. An expectation is no prediction of the score that a comparison will show:
it puts techniques in an order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

from luthier.probe.advice_facts import AdviceFacts

RULE = "2"  # raise it when a constant changes: the record counts each rule by itself

SEARCH = 0.03  # what choosing demonstrations on dev adds to eight that are merely near
LEARNT = 0.05  # what trained weights add to the better of prompts and plain words
LEARNT_ROWS = 1200.0  # rows in training (examples times passes) after which weights have learnt
USUAL_PASSES = 3.0  # what a comparison buys where no budget is given
LEAST_PASSES = 3.0  # below it a fit is no trial, and a verdict leaves it out
FEW_A_LABEL = 8.0  # examples a label, below which weights learn a part of that only
STATES_DECODER = 0.03  # a linear reader of a decoder's states against one of words
STATES_ENCODER = 0.08  # and of an encoder's
PREFIX_SHARE = 0.6  # of the way from demonstrations to trained weights that a prefix goes
SOFT_SHARE_DECODER = 0.0  # that virtual tokens at the input go, over a decoder
SOFT_SHARE_ENCODER = 0.8  # that they go from zero-shot, over an encoder-decoder
FULL = -0.03  # all weights against an adapter, on so few examples
RETRIEVED = 0.03  # what settling the search on dev adds to passages that are looked up by words
SHOWN_BESIDE = 0.01  # what demonstrations add to passages
FORGETTING = -0.08  # a reader that was trained without passages and then reads them
FREE_TEXT = 0.03  # what training adds to demonstrations where answers are free text
SEARCHED_PROMPT = 0.01  # what a search over instructions adds to demonstrations
LONGER = 0.01  # what longer prompts cost where training follows demonstrations
IA3 = -0.06  # scaling vectors against LoRA

Expectation = tuple[float, str]
Row = Callable[[AdviceFacts, float], Expectation | None]  # of the facts and the learnt share
Passes = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class RuledTechnique:
    """A technique in its place: why it stands there, and the score that the rule expects on dev;
    None where the rule does not know the technique."""

    technique: str
    reason: str
    expected: float | None = None


def rank(facts: AdviceFacts, passes: Passes) -> tuple[RuledTechnique, ...]:
    """The techniques of `passes`, the best guess first: names as they are written, with the passes
    over the training examples that the budget of a fit buys (None: it trains nothing, or enough).

    Of equals the one that comes first in `passes` is first. What cannot be expected stands last.
    """
    found = []
    for name, bought in passes.items():
        expectation = expected(facts, name, bought)
        if expectation is None:
            found.append(RuledTechnique(name, "The rule does not know this technique."))
        else:
            found.append(RuledTechnique(name, expectation[1], round(expectation[0], 4)))
    return tuple(
        sorted(found, key=lambda one: float("inf") if one.expected is None else -one.expected)
    )


def expected(facts: AdviceFacts, technique: str, passes: float | None) -> Expectation | None:
    """The score that the rule expects of a technique, and why; None where it has no row for it, or
    where nothing was measured."""
    if facts.zero_shot is None:
        return None
    row = ROWS.get(plain_recipe(technique))
    found = None if row is None else row(facts, learnt_share(facts, passes))
    trained = any(step in TRAINED for step in plain_recipe(technique).split(" -> "))
    if found is not None and trained and passes is not None and round(passes, 1) < LEAST_PASSES:
        return 0.0, (
            f"The budget buys {passes:.1f} passes over the {facts.train_examples} training "
            f"examples; below {LEAST_PASSES:g} it is no trial."
        )
    return found


def plain_recipe(technique: str) -> str:
    """The names of a recipe without their settings: "lora(rank=4) -> rag" is "lora -> rag"."""
    steps = [step.partition("(")[0].strip() for step in technique.split("->")]
    return " -> ".join(steps)


def _prompts(facts: AdviceFacts) -> float:
    """What demonstrations are expected to reach."""
    zero = facts.zero_shot or 0.0
    return zero if facts.few_shot is None else max(zero, facts.few_shot + SEARCH)


def learnt_share(facts: AdviceFacts, passes: float | None) -> float:
    """How far training comes, from 0 to 1: √(rows / `LEARNT_ROWS`), less where a label has few
    examples. The first rows teach the most."""
    rows = facts.train_examples * (USUAL_PASSES if passes is None else passes)
    share = sqrt(min(1.0, rows / LEARNT_ROWS))
    if facts.labels:
        share *= min(1.0, (facts.examples_per_label or 0.0) / FEW_A_LABEL)
    return share


def _best(facts: AdviceFacts) -> float:
    """What weights are expected to reach in the end: more than prompts and words."""
    if facts.free_text:
        return _prompts(facts) + FREE_TEXT
    return max(_prompts(facts), facts.plain or 0.0) + LEARNT


def _from_shown(facts: AdviceFacts, share: float) -> float:
    """What a share of the way from demonstrations to what weights reach comes to."""
    start = max(facts.zero_shot or 0.0, facts.few_shot or 0.0)
    return start + share * (_best(facts) - start)


def _zero_shot(facts: AdviceFacts, share: float) -> Expectation:
    return facts.zero_shot or 0.0, f"Without an example the base reaches {facts.zero_shot:.2f}."


def _few_shot(facts: AdviceFacts, share: float) -> Expectation:
    if facts.few_shot is None:
        return _prompts(facts) - SEARCH, "No demonstration fits, or there are none to show."
    return _prompts(facts), (
        f"The {facts.shots} nearest examples bring the base from {facts.zero_shot:.2f} to "
        f"{facts.few_shot:.2f}."
    )


def _lora(facts: AdviceFacts, share: float) -> Expectation:
    zero = facts.zero_shot or 0.0
    value = zero + share * (_best(facts) - zero)  # it begins without demonstrations
    if facts.free_text:
        return value, "Training on the answers' form adds a little to demonstrations."
    many = f"{facts.examples_per_label or 0:.0f} examples a label"
    if facts.plain is not None and facts.plain > _prompts(facts):
        return value, (
            f"Words alone reach {facts.plain:.2f}, more than a prompt draws out: {many} teach the "
            f"weights, {100 * share:.0f} % of the way with this budget."
        )
    return value, (
        f"A prompt already reaches what words tell; {many} bring the weights {100 * share:.0f} % "
        "of the way to a little more."
    )


def _shown_lora(facts: AdviceFacts, share: float) -> Expectation:
    words = "Training goes on from demonstrations, over longer prompts."
    return _from_shown(facts, share) - LONGER, words


def _prefix(facts: AdviceFacts, share: float) -> Expectation:
    value = _from_shown(facts, PREFIX_SHARE * share)
    return value, "A prefix begins as demonstrations and goes a part of the way to trained weights."


def _soft_prompt(facts: AdviceFacts, share: float) -> Expectation:
    if not facts.encoder_decoder:
        value = _from_shown(facts, SOFT_SHARE_DECODER * share)
        return value, "Virtual tokens over a decoder begin as demonstrations and stay near them."
    zero = facts.zero_shot or 0.0
    value = zero + SOFT_SHARE_ENCODER * share * (_best(facts) - zero)
    return value, "Virtual tokens over an encoder-decoder go most of the way that weights go."


def _linear_probe(facts: AdviceFacts, share: float) -> Expectation | None:
    if facts.free_text or facts.plain is None:
        return None
    gain = STATES_ENCODER if facts.encoder_decoder else STATES_DECODER
    kind = "both ways" if facts.encoder_decoder else "one way"
    return facts.plain + gain, (
        f"A linear reader of words reaches {facts.plain:.2f}; of states that were read {kind}, "
        f"{'more' if facts.encoder_decoder else 'a little more'} is expected."
    )


def _rag(facts: AdviceFacts, share: float) -> Expectation | None:
    if facts.open_book is None:
        return None
    if facts.open_book > _prompts(facts):
        words = f"With passages it reaches {facts.open_book:.2f}, without {facts.zero_shot:.2f}: "
        return facts.open_book + RETRIEVED, words + "what is missing is knowledge."
    words = f"Passages do not help it: {facts.open_book:.2f} with them."
    return facts.open_book, words


def _rag_shown(facts: AdviceFacts, share: float) -> Expectation | None:
    found = _rag(facts, share)
    if found is None:
        return None
    return found[0] + SHOWN_BESIDE, f"{found[1]} Demonstrations show how to answer from them."


def _rag_trained(facts: AdviceFacts, share: float) -> Expectation | None:
    found = _rag(facts, share)
    if found is None:
        return None
    return found[0] + FORGETTING, f"{found[1]} Training without passages spoils their reading."


def _shifted(row: Row, by: float, words: str) -> Row:
    def shifted(facts: AdviceFacts, share: float) -> Expectation | None:
        found = row(facts, share)
        return None if found is None else (found[0] + by, words)

    return shifted


ROWS: Mapping[str, Row] = {
    "zero-shot": _zero_shot,
    "few-shot": _few_shot,
    "prompt-search": _shifted(
        _few_shot, SEARCHED_PROMPT, "As few-shot, with a search over instructions and forms."
    ),
    "soft-prompt": _soft_prompt,
    "prefix": _prefix,
    "lora": _lora,
    "ia3": _shifted(_lora, IA3, "As LoRA, with far fewer numbers to learn in."),
    "full": _shifted(_lora, FULL, "As LoRA, with all weights: more than few examples can settle."),
    "linear-probe": _linear_probe,
    "rag": _rag,
    "rag -> few-shot": _rag_shown,
    "lora -> rag": _rag_trained,
    "few-shot -> lora": _shown_lora,
}
TRAINED = frozenset({"soft-prompt", "prefix", "lora", "ia3", "full"})
