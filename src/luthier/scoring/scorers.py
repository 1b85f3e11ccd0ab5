"""Scorers by name: how one example is judged, and how a corpus is.

accuracy macro-f1                      labels
exact-match token-f1                   short answers (SQuAD's normalisation)
rouge-1 rouge-2 rouge-l chrf bleu      running text, each on a scale from 0 to 1
regex regex:PATTERN                    the target is a pattern; or one pattern for all
json-schema json-fields                extraction: valid at all; right, field by field
perplexity                             needs log-probabilities; lower is better
path/to/file.py:function               your own (prediction, target) -> number
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import registry
from luthier.errors import TaskError, did_you_mean
from luthier.models.json_reading import is_json
from luthier.records import Example, Kind, SampleScore
from luthier.scoring import metrics, text_scores

if TYPE_CHECKING:
    from luthier.task.task import Task

ScoreFunction = Callable[[str, str], float]


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """Judges one example with `score(prediction, target)` and a corpus with `aggregate`.

    An answer that could not be read reaches `score` as "". `low` and `high` bound both the values
    and the metric; None: unbounded. `readable` adds to what counts as parsed (JSON for the JSON
    scorers). `check_target` raises TaskError for a target this scorer cannot use, before the model
    runs.
    `needs_likelihood`: points are nats per token of the target, not a judgement of an answer.
    """

    metric: str
    score: ScoreFunction
    aggregate: Callable[[Sequence[SampleScore]], metrics.Statistics] = metrics.mean
    low: float | None = 0.0
    high: float | None = 1.0
    higher_is_better: bool = True
    readable: Callable[[str], bool] | None = None
    check_target: Callable[[str], Any] | None = None
    needs_likelihood: bool = False

    @property
    def is_corpus_level(self) -> bool:
        """Whether the metric is something else than the mean of the values."""
        return self.aggregate is not metrics.mean

    def check(self, examples: Sequence[Example]) -> None:
        """TaskError, with the id of the example, where a target is of no use to this scorer."""
        if self.check_target is None:
            return
        for example in examples:
            try:
                self.check_target(example.target)
            except TaskError as fault:
                raise TaskError(
                    f"Example {example.id}: {fault.problem}", next_step=fault.next_step
                ) from fault


def _never(prediction: str, target: str) -> float:
    raise TaskError(
        "Perplexity is read from log-probabilities and cannot judge an answer.",
        next_step="Call `luthier.evaluate`, or choose a scorer that compares texts.",
    )


def _wants_json(target: str) -> None:
    text_scores.json_fields("", target)


ACCURACY = Scorer("accuracy", text_scores.same)
MACRO_F1 = Scorer("macro-f1", text_scores.same, metrics.macro_f1)
EXACT_MATCH = Scorer("exact-match", text_scores.exact_match)
TOKEN_F1 = Scorer("token-f1", text_scores.token_f1)
ROUGE_1 = Scorer("rouge-1", text_scores.rouge("rouge1"))
ROUGE_2 = Scorer("rouge-2", text_scores.rouge("rouge2"))
ROUGE_L = Scorer("rouge-l", text_scores.rouge("rougeL"))
CHRF = Scorer("chrf", metrics.sentence_chrf, metrics.corpus_chrf)
BLEU = Scorer("bleu", text_scores.sentence_bleu, metrics.corpus_bleu)
REGEX = Scorer("regex", text_scores.matches, check_target=text_scores.compiled)
JSON_SCHEMA = Scorer("json-schema", text_scores.schema_validity(None), readable=is_json)
JSON_FIELDS = Scorer(
    "json-fields",
    text_scores.json_fields,
    readable=is_json,
    check_target=_wants_json,
)
PERPLEXITY = Scorer(
    "perplexity",
    _never,
    metrics.perplexity,
    low=1.0,
    high=None,
    higher_is_better=False,
    needs_likelihood=True,
)

_SECONDARY: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLASSIFY: ("accuracy", "macro-f1"),
    Kind.QUESTION_ANSWERING: ("exact-match", "token-f1"),
    Kind.EXTRACT: ("exact-match", "token-f1"),
    Kind.GENERATE: ("rouge-l", "chrf", "bleu"),
    Kind.CHAT: ("rouge-l", "chrf", "bleu"),
}


def resolve_scorer(
    spec: str | ScoreFunction | Scorer, *, schema: Mapping[str, Any] | None = None
) -> Scorer:
    """The scorer a task file names. TaskError, with the choices, for a name there is not.

    `schema` is what json-schema checks against. A relative file path starts at the working folder.
    """
    if isinstance(spec, Scorer):
        return spec
    if callable(spec):
        return _custom(spec, getattr(spec, "__name__", type(spec).__name__))
    name = spec.strip()
    key = name.lower().replace("_", "-")
    if key == "json-schema":
        return replace(JSON_SCHEMA, score=text_scores.schema_validity(schema))
    if key.startswith("regex:"):
        pattern = name[len("regex:") :]
        return replace(REGEX, score=text_scores.matcher(pattern), check_target=None)
    if ".py:" in name:
        return _custom(_load(name), name.rpartition(":")[2])
    if not registry.has("scorers", key):
        names = registry.names("scorers")
        raise TaskError(
            f"There is no scorer named {spec!r}.",
            choices=(*names, "regex:PATTERN", "path/to/file.py:function"),
            next_step=did_you_mean(key, names) or "Name one of these in the task's `scorer`.",
        )
    found = registry.get("scorers", key)
    return replace(found, metric=key) if isinstance(found, Scorer) else _custom(found, key)


def scorer_for(task: Task) -> Scorer:
    """The headline scorer of a task."""
    return resolve_scorer(task.scorer, schema=task.schema)


def secondary_scorers(task: Task, headline: Scorer) -> tuple[Scorer, ...]:
    """What else is worth knowing for this kind of task, the headline left out."""
    if headline.needs_likelihood:
        return ()
    names = list(_SECONDARY[task.kind])
    if task.kind is Kind.EXTRACT and task.schema is not None:
        names = ["json-schema", "json-fields", "exact-match"]
    found = [resolve_scorer(name, schema=task.schema) for name in names]
    return tuple(s for s in found if s.metric != headline.metric)


def _custom(function: ScoreFunction, name: str) -> Scorer:
    """A user's function. Its attributes `low`, `high` and `higher_is_better` are honoured; without
    bounds the interval is clipped to [0, 1] only where every point lies there."""
    return Scorer(
        metric=name,
        score=text_scores.checked(function, name),
        low=getattr(function, "low", None),
        high=getattr(function, "high", None),
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
    )


def _load(spec: str) -> ScoreFunction:
    from importlib.util import module_from_spec, spec_from_file_location

    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise TaskError(
            f"The scorer {spec!r} names a file that is not there: {path.resolve()}.",
            next_step="Give the path from the folder in which the command runs.",
        )
    found = spec_from_file_location(f"luthier_scorer_{path.stem}", path)
    if found is None or found.loader is None:
        raise TaskError(f"{path} cannot be imported as Python.")
    module = module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as fault:
        raise TaskError(
            f"Importing the scorer file {path} failed with {type(fault).__name__}: {fault}.",
            next_step=f"Run `python {path}` to see where.",
        ) from fault
    function = getattr(module, name, None)
    if not callable(function):
        offered = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise TaskError(
            f"{path} has no function named {name!r}.",
            choices=offered,
            next_step=did_you_mean(name, offered),
        )
    loaded: ScoreFunction = function
    return loaded
