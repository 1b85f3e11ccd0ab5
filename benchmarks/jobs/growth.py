"""How our time grows with examples, labels, demonstrations, input length and trials.

On each axis everything else stands still. A slope is that of log time against log size. It is held
against the slope of the distinct tokens, and stands beside that of the operations these need: the
token of a label costs the output head too, and every query reads all that stands before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.cases import Classification, nano
from benchmarks.fitting import TrainingSetup, train_prompts
from benchmarks.measure import Measurement, Share, timed
from benchmarks.operations import after_inputs, inputs_once, scoring_operations
from luthier.models.adaptation import Adaptation
from luthier.task.task import Task

BASE = Classification(shared=64, inputs=24, input_tokens=40, labels=8)
RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Axis:
    """Sizes, the seconds each took (best of three), the distinct tokens each has and the
    floating-point operations they need."""

    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    tokens: tuple[float, ...]
    operations: tuple[float, ...]

    @property
    def slopes(self) -> tuple[float, float, float]:
        """Of time, distinct tokens and operations against size, all on log axes."""
        x = np.log(self.sizes)
        time, tokens, operations = (
            float(np.polyfit(x, np.log(y), 1)[0])
            for y in (self.seconds, self.tokens, self.operations)
        )
        return time, tokens, operations

    def measurements(self) -> list[Measurement]:
        """Over the distinct tokens, as is asked for, and over the operations."""
        time, tokens, operations = self.slopes
        setting = {
            "sizes": list(self.sizes),
            "seconds": list(self.seconds),
            "distinct_tokens": list(self.tokens),
            "operations": list(self.operations),
            "slope_of_time": time,
            "slope_of_distinct_tokens": tokens,
            "slope_of_operations": operations,
            "model": "nano",
        }
        job = f"growth with {self.name}"
        over = "slope of time less slope of"
        return [
            Share(
                job, f"{over} distinct tokens", time - tokens, 0.1, at_most=True, setting=setting
            ),
            Share(f"{job}, over operations", f"{over} operations", time - operations, None),
        ]


def run() -> Sequence[Measurement]:
    """The five axes, and growth.svg beside the results."""
    axes = [
        _scoring("inputs", (8, 16, 32, 64, 128), lambda n: replace(BASE, inputs=n)),
        _scoring("labels", (2, 4, 8, 16, 32), lambda n: replace(BASE, labels=n)),
        _scoring(
            "demonstration tokens", (64, 128, 256, 512, 1024), lambda n: replace(BASE, shared=n)
        ),
        _scoring("input tokens", (16, 32, 64, 128, 256), lambda n: replace(BASE, input_tokens=n)),
        _trials((1, 2, 4, 8)),
    ]
    draw(axes, RESULTS / "growth.svg")
    return [m for axis in axes for m in axis.measurements()]


def draw(axes: Sequence[Axis], path: Path) -> None:
    """Time against size on log axes, distinct tokens and operations scaled to meet it at the
    first size. The title gives the three slopes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "luthier"
    from matplotlib import pyplot, ticker

    figure, places = pyplot.subplots(1, len(axes), figsize=(3.2 * len(axes), 3.2))
    for place, axis in zip(places, axes, strict=True):
        place.loglog(axis.sizes, axis.seconds, "o-", label="time")
        for counted, style, name in (
            (axis.tokens, "--", "distinct tokens"),
            (axis.operations, ":", "operations"),
        ):
            scale = axis.seconds[0] / counted[0]
            place.loglog(axis.sizes, [n * scale for n in counted], style, label=name)
        place.set_xlabel(axis.name)
        place.set_xticks(axis.sizes, [str(s) for s in axis.sizes])
        place.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        place.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        place.minorticks_off()
        place.set_title(
            "time {:.2f}, tokens {:.2f}, operations {:.2f}".format(*axis.slopes), fontsize=8
        )
    places[0].set_ylabel("seconds")
    places[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _scoring(name: str, sizes: tuple[int, ...], case: Callable[[int], Classification]) -> Axis:
    backend = nano()
    seconds = []
    for size in sizes:
        # Fresh texts for every try.
        asked = [case(size).requests(backend.tokenizer, seed=k) for k in range(3)]
        seconds.append(min(timed(lambda a=a: backend.score(a, Adaptation()))[0] for a in asked))
    config = backend.module.config
    return Axis(
        name,
        sizes,
        tuple(seconds),
        tuple(case(s).distinct_tokens for s in sizes),
        tuple(scoring_operations(config, case(s)) for s in sizes),
    )


def _trials(sizes: tuple[int, ...], *, steps: int = 6) -> Axis:
    """Soft prompts after the input: the inputs once, then virtual tokens and answers a trial."""
    setup = TrainingSetup.of(Task.load("routing"), tokens=20)
    setup = replace(setup, rows=setup.rows[: steps * 16])
    seconds = []
    for size in sizes:
        seconds.append(
            min(
                timed(
                    lambda n=size: train_prompts(setup, [0.3] * n, placement="after", steps=steps)
                )[0]
                for _ in range(2)
            )
        )
    inputs = sum(r.start for r in setup.rows)
    # A trained token costs a forward and a backward pass.
    moving = 2 * sum(20 + len(r.answer) - 1 for r in setup.rows)
    config = nano().module.config
    once = inputs_once(config, setup.rows)
    each = after_inputs(config, setup.rows, virtual=20)
    return Axis(
        "trials",
        sizes,
        tuple(seconds),
        tuple(inputs + n * moving for n in sizes),
        tuple(once + n * each for n in sizes),
    )
