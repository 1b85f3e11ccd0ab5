"""An edited prompt on dev, beside the prompt that it came from."""

from __future__ import annotations

from dataclasses import replace

from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.scoring import compare_with_best, evaluate
from luthier.studio.prompt_versions import DevDifference
from luthier.task.task import Task

EDITABLE = ("instruction", "context", "objective", "negative")


def edited(prompt: Prompt, parts: dict[str, str]) -> Prompt:
    """The prompt with some of its texts replaced."""
    known = {name: text for name, text in parts.items() if name in EDITABLE}
    return replace(prompt, **known)  # type: ignore[arg-type]


def difference_on_dev(model: Model, prompt: Prompt, task: Task, *, limit: int) -> DevDifference:
    """The model with an edited prompt less the model as it is, on the same dev examples."""
    before = evaluate(model, task, split="dev", limit=limit)
    after = evaluate(model.adapt(prompt=prompt), task, split="dev", limit=limit)
    found = compare_with_best({"before": [before], "after": [after]})
    first, second = before.score.value, after.score.value
    low = high = p = None
    if found.tests:
        test = found.tests[0]
        # A test is of another against the best: turned round where the edited prompt is best.
        turn = 1 if test.first == "after" else -1
        ends = [None if e is None else turn * e for e in (test.low, test.high)]
        low, high = ends if turn == 1 else ends[::-1]
        p = test.p_value
    return DevDifference(
        before=first,
        after=second,
        difference=None if first is None or second is None else second - first,
        low=low,
        high=high,
        p=p,
        examples=len(before.sample_scores),
        metric=before.score.metric,
    )
