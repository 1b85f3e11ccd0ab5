"""Sharper wording step by step, without a model that writes: from a general instruction to pointed
ones, labels described, and what the labels that are mixed up differ in.

Each step changes the best prompt so far and stays where it does better on the same dev examples.
The words come from the training examples: those that are commoner with one label than with others
by their log-odds with a prior (Monroe, Colaresi and Quinn 2008, doi:10.1093/pan/mpn018, eq. 16).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from luthier.models.prompt import Prompt, label_text
from luthier.records import Example
from luthier.scripts import words_of
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import ranked

PAIRS = 4  # of labels that are mixed up, one step each
WORDS_A_LABEL = 4
SHORTEST_WORD = 3  # letters, in scripts with spaces
CLEAR = 1.0  # standard errors by which a word must be commoner
FEWEST = 2  # examples that hold it
FIRST_EXAMPLES = 32  # on which a prompt is scored that no round has scored


def sharpen(
    evaluator: CandidateEvaluator, start: Candidate, *, most: int, reserve: float
) -> list[Candidate]:
    """The prompts that were better than the one before, the best first, and `start`; at most `most`
    are tried. Nothing is tried that the budget, less `reserve`, does not pay for, or without
    labels."""
    kept = [start]
    if not start.prompt.labels or len(evaluator.examples) == 0:
        return kept
    if not start.answers:
        first = min(FIRST_EXAMPLES, len(evaluator.examples))
        if not evaluator.evaluate(start, first, reserve=reserve):
            return kept
    train = evaluator.task.train
    done: set[str] = set()
    for _ in range(most):
        best = kept[0]
        step = next(((n, p) for n, p in _steps(evaluator, best, train) if n not in done), None)
        if step is None:
            break
        name, prompt = step
        done.add(name)
        candidate = evaluator.add(f"{best.name}; {name}", prompt, part="wording", change=name)
        if not evaluator.evaluate(candidate, len(best.answers), reserve=reserve):
            break
        if ranked([best, candidate])[0] is candidate:
            kept.insert(0, candidate)
    return kept


def _steps(
    evaluator: CandidateEvaluator, best: Candidate, train: Sequence[Example]
) -> Iterator[tuple[str, Prompt]]:
    """Names and prompts of the steps from here, the general ones first."""
    prompt = best.prompt
    target = prompt.format.target_name.lower()
    source = prompt.format.input_name.lower()
    pointed = (
        f"Decide what the {source} is mainly about, and choose the one {target} that fits best."
    )
    if pointed not in prompt.instruction:
        yield "pointed", replace(prompt, instruction=_joined(prompt.instruction, pointed))
    task = evaluator.task
    if not prompt.label_descriptions:
        if task.label_descriptions:
            yield "described", replace(prompt, label_descriptions=task.label_descriptions)
        typical = described(train, prompt.labels)
        if typical:
            yield "typical words", replace(prompt, label_descriptions=typical)
    for first, second in confused(evaluator, best):
        hint = difference(train, (first, second), lambda label: label_text(label, prompt.format))
        if hint and hint not in prompt.instruction:
            yield (
                f"{first} or {second}",
                replace(prompt, instruction=_joined(prompt.instruction, hint)),
            )


def _joined(instruction: str, sentence: str) -> str:
    instruction = instruction.strip()
    if instruction and not instruction.endswith((".", "!", "?", ":")):
        instruction += "."
    return f"{instruction} {sentence}".strip()


def described(examples: Sequence[Example], labels: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """What is typical of each label, in words of its examples; () where none has any."""
    found = []
    for label in labels:
        own = [e for e in examples if e.target == label]
        words = typical_words(own, [e for e in examples if e.target != label])
        found.append((label, f"for instance about {', '.join(words)}" if words else ""))
    return tuple(found) if any(text for _, text in found) else ()


def difference(
    examples: Sequence[Example], pair: tuple[str, str], write: Callable[[str], str]
) -> str:
    """In a sentence, the words in which the examples of two labels differ; "" where in none."""
    first, second = ([e for e in examples if e.target == label] for label in pair)
    here, there = typical_words(first, second), typical_words(second, first)
    if not here or not there:
        return ""
    return (
        f"Choose {write(pair[0])} where it is about {', '.join(here)}, and {write(pair[1])} where "
        f"it is about {', '.join(there)}."
    )


def confused(evaluator: CandidateEvaluator, candidate: Candidate) -> list[tuple[str, str]]:
    """The pairs of labels that a prompt mixes up most on dev, the commonest first."""
    pairs = Counter[tuple[str, str]]()
    labels = set(candidate.prompt.labels)
    for example, said in zip(evaluator.examples, evaluator.predictions(candidate), strict=False):
        if said is not None and said != example.target and {said, example.target} <= labels:
            first, second = sorted((said, example.target))
            pairs[first, second] += 1
    return [pair for pair, _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))][:PAIRS]


def typical_words(own: Sequence[Example], others: Sequence[Example]) -> list[str]:
    """The words that are commonest in `own` against `others`, the clearest first.

    z = δ / sqrt(1 / (a + p) + 1 / (b + p)), with a and b the examples of each side that hold the
    word, p its prior (its share of all, times two examples), and δ the difference of log-odds.
    """
    counts = [Counter(w for e in side for w in _words(e.text)) for side in (own, others)]
    sizes = [len(own), len(others)]
    everything = counts[0] + counts[1]
    ranked_words = []
    for word, whole in everything.items():
        prior = 2.0 * whole / sum(sizes)
        if counts[0][word] < FEWEST:
            continue
        odds = [
            math.log((c[word] + prior) / (n - c[word] + 2.0 - prior + 1e-9))
            for c, n in zip(counts, sizes, strict=True)
        ]
        error = math.sqrt(1 / (counts[0][word] + prior) + 1 / (counts[1][word] + prior))
        z = (odds[0] - odds[1]) / error
        if z > CLEAR:
            ranked_words.append((-z, word))
    return [word for _, word in sorted(ranked_words)[:WORDS_A_LABEL]]


def _words(text: str) -> set[str]:
    return {
        word
        for word in map(str.lower, words_of(text))
        if len(word) >= SHORTEST_WORD or not word.isascii()
    }
