"""LoRA on calls of functions that no asked request has, for `benchmarks.tool_calls --lora`.

One in five training requests is shown functions of another request, and learns to say that none of
them fits. A fit that is killed goes on where it was; a finished one is read back from `out`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import luthier
from benchmarks.bfcl_requests import Request
from luthier.content import ToolCall, ToolSignature
from luthier.context import WorkContext, working
from luthier.engine import Session
from luthier.models.adaptation import Decoding, ToolUse
from luthier.models.model import Model
from luthier.models.prompt import PromptFormat
from luthier.models.tool_formats import call_format
from luthier.models.tool_prompt import format_name
from luthier.records import Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.preference.lora_settings import lora_config
from luthier.training.adapter_fit import AdapterPlan, fit_adapter
from luthier.training.objectives import LanguageModelLoss
from luthier.training.rows import TrainRow, rows_for

FORM = PromptFormat("Request", "Answer")
DECODING = Decoding(max_new_tokens=160, stop=("\n",))
NONE_FITS = "None of these functions fits."
WITHOUT_CALL = 5  # one in so many
SETTINGS = {"learning_rates": (1e-3,), "batch_size": 4, "prompt": "task", "rank": 8}


class CallsLoss(LanguageModelLoss):
    """The loss on a call; every example is asked with functions of its own."""

    def __init__(self, functions: Mapping[str, tuple[ToolSignature, ...]]) -> None:
        self.functions = functions

    def rows(
        self, model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int
    ) -> list[TrainRow]:
        """One row for each example, with its functions listed before it."""
        rows: list[TrainRow] = []
        for example in examples:
            with_tools = model.adapt(tools=ToolUse(self.functions[example.id]))
            rows += rows_for(with_tools, session, [example], virtual_tokens=virtual_tokens)
        return rows


def other_functions(pool: Sequence[Request], asked: Sequence[Request]) -> list[Request]:
    """The requests of the pool that share no function, by its name, with those that are asked."""
    taken = {f.name for request in asked for f in request.functions}
    return [r for r in pool if not taken & {f.name for f in r.functions}]


def training_examples(
    model: Model, pool: Sequence[Request], *, count: int
) -> tuple[list[Example], dict[str, tuple[ToolSignature, ...]]]:
    """Requests with their calls as targets, and the functions of each by its id."""
    rng = random.Random(2)
    chosen = rng.sample(list(pool), min(count, len(pool)))
    examples, functions = [], {}
    for number, request in enumerate(chosen):
        own = request.functions
        ((name, possible),) = request.possible.items()
        arguments = {k: values[0] for k, values in possible.items() if values and values[0] != ""}
        form = call_format(format_name(model.adapt(tools=ToolUse(own))))
        target = form.write([ToolCall(name, arguments)])
        if number % WITHOUT_CALL == WITHOUT_CALL - 1:
            strangers = [r for r in chosen if r is not request]
            own = rng.choice(strangers).functions
            target = NONE_FITS
        functions[str(number)] = own
        examples.append(Example(str(number), request.question, target))
    return examples, functions


def tuned_on_calls(
    model: Model, pool: Sequence[Request], *, count: int, tokens: int, out: Path
) -> Model:
    """The model with an adapter that learnt `count` requests of the pool."""
    saved = out / "lora"
    if saved.is_dir():
        return luthier.load(saved)
    start = model.adapt(prompt=replace(model.adaptation.prompt, format=FORM), decoding=DECODING)
    examples, functions = training_examples(start, pool, count=count)
    dev = examples[: max(4, len(examples) // 10)]
    spec = TaskSpec(
        name="calls", instruction="", kind=Kind.GENERATE, scorer="exact-match",
        input_name=FORM.input_name, target_name=FORM.target_name,
        max_new_tokens=DECODING.max_new_tokens,
    )  # fmt: skip
    task = Task(spec, tuple(examples[len(dev) :]), tuple(dev), None)
    rank = int(str(SETTINGS["rank"]))
    plan = AdapterPlan(
        "lora", SETTINGS, CallsLoss(functions), lambda module: lora_config(module, rank=rank)
    )
    out.mkdir(parents=True, exist_ok=True)
    with working(WorkContext(folder=out / "fit")):
        tuned = fit_adapter(start, task, plan, budget=luthier.Budget(tokens=tokens), seed=0)
    tuned.save(saved)
    return tuned
