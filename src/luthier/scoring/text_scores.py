"""What one prediction is worth: functions of (prediction, target) to points, mostly in [0, 1].

Nothing here knows of corpora or intervals; `metrics` aggregates and `scorers` names.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from luthier.errors import TaskError, UserError
from luthier.models.json_reading import is_json, read_json

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def same(prediction: str, target: str) -> float:
    """1 when the two are equal, white space at the ends aside."""
    return float(prediction.strip() == target.strip())


def normalised(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    The normalisation of SQuAD (arXiv:1606.05250, section 6.1, and its official script).
    """
    kept = "".join(ch for ch in text.lower() if ch not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(prediction: str, target: str) -> float:
    """1 when the two are equal after SQuAD's normalisation."""
    return float(normalised(prediction) == normalised(target))


def token_f1(prediction: str, target: str) -> float:
    """Harmonic mean of precision and recall over the bag of normalised words, as in SQuAD.

    Where one side has no word left, 1 if neither has and 0 otherwise.
    """
    said, wanted = normalised(prediction).split(), normalised(target).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2.0 * shared / (len(said) + len(wanted))


class _UnicodeWords:
    """Like the default tokenizer of `rouge-score` on ASCII text; it also keeps other alphabets,
    which the default drops, so that every text in Greek would score 0."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


@lru_cache(maxsize=8)
def _rouge(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=_UnicodeWords())


def rouge(kind: str) -> Callable[[str, str], float]:
    """F-measure of one ROUGE ("rouge1", "rouge2", "rougeL"), no stemming, through `rouge-score`."""

    def score(prediction: str, target: str) -> float:
        return float(_rouge(kind).score(target, prediction)[kind].fmeasure)

    return score


def sentence_bleu(prediction: str, target: str) -> float:
    """BLEU of one sentence, effective order on, divided by 100 (`sacrebleu`)."""
    score = float(bleu_scorer().sentence_score(prediction, [target]).score)
    return min(1.0, score / 100.0)  # rounding takes a perfect match past 100


@lru_cache(maxsize=1)
def bleu_scorer() -> Any:
    """The BLEU of `sacrebleu` for single sentences, made once."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression; TaskError with the place of the fault where it is not one."""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as fault:
        raise TaskError(
            f"{pattern!r} is not a regular expression: {fault}.",
            next_step="Mend the pattern (Python's `re` syntax), or choose the scorer exact-match.",
        ) from fault


def matches(prediction: str, target: str) -> float:
    """1 when the target, read as a regular expression, is found in the prediction."""
    return float(compiled(target).search(prediction) is not None)


def matcher(pattern: str) -> Callable[[str, str], float]:
    """1 when one fixed pattern is found in the prediction, whatever the target."""
    found = compiled(pattern)
    return lambda prediction, target: float(found.search(prediction) is not None)


def schema_validity(schema: Mapping[str, Any] | None) -> Callable[[str, str], float]:
    """1 when the prediction is JSON that fits the schema (any JSON without one); never fetches
    anything. TaskError where the schema itself is at fault."""
    if schema is None:
        return lambda prediction, target: float(is_json(prediction))
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema)
    try:
        kind.check_schema(dict(schema))
    except SchemaError as fault:
        raise TaskError(
            f"The task's JSON schema is not valid: {fault.message}.",
            next_step="Mend `schema` in the task file (https://json-schema.org).",
        ) from fault
    # An empty registry: the default one would open the URL of a remote $ref.
    validator = kind(dict(schema), registry=Registry())

    def score(prediction: str, target: str) -> float:
        try:
            return float(validator.is_valid(read_json(prediction)))
        except (ValueError, RecursionError):
            return 0.0
        except Unresolvable as fault:
            raise TaskError(
                f"The task's JSON schema refers to {fault.ref!r}, which it does not hold.",
                next_step="Put the definition under $defs; references are never downloaded.",
            ) from fault

    return score


def json_fields(prediction: str, target: str) -> float:
    """F1 over the leaves (path, value) of two JSON values: validity says nothing about being right.

    Text is compared with white space at its ends removed; the order of a list counts.
    """
    try:
        wanted = Counter(_leaves(read_json(target)))
    except ValueError as fault:
        raise TaskError(
            f"The scorer json-fields needs JSON targets; got {target[:80]!r}.",
            next_step="Mend the target, or choose another scorer (token-f1, json-schema).",
        ) from fault
    try:
        said = Counter(_leaves(read_json(prediction)))
    except (ValueError, RecursionError):
        return 0.0
    return 2.0 * (said & wanted).total() / (said.total() + wanted.total())


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(place)))
    else:
        yield path, json.dumps(value.strip() if isinstance(value, str) else value)


def checked(function: Callable[[str, str], Any], name: str) -> Callable[[str, str], float]:
    """A user's own scorer, with its mistakes turned into messages."""

    def score(prediction: str, target: str) -> float:
        try:
            value = float(function(prediction, target))
        except UserError:
            raise
        except Exception as fault:
            raise TaskError(
                f"The scorer {name} failed with {type(fault).__name__}: {fault} "
                f"(prediction {prediction[:80]!r}, target {target[:80]!r}).",
                next_step="It must take (prediction, target) and return one number.",
            ) from fault
        if value != value or value in (float("inf"), float("-inf")):
            raise TaskError(
                f"The scorer {name} returned {value} "
                f"(prediction {prediction[:80]!r}, target {target[:80]!r}).",
                next_step="It must return a finite number for every pair.",
            )
        return value

    return score
