"""How our time grows with examples, labels, demonstrations, input length and trials.

On each axis everything else stands still. A slope is that of log time against log size; it is
compared with the slope of the distinct tokens, which is the least that any engine can have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.cases import Classification, nano
from benchmarks.fitting import Ground, train_prompts
from benchmarks.measure import Line, Share, timed
from luthier.models.adaptation import Adaptation
from luthier.task.task import Task

BASE = Classification(shared=64, inputs=24, input_tokens=40, labels=8)
RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class Axis:
    """Sizes, the seconds each took (best of three), and the distinct tokens each has."""

    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    tokens: tuple[float, ...]

    @property
    def slopes(self) -> tuple[float, float]:
        """Of time and of distinct tokens against size, both on log axes."""
        x = np.log(self.sizes)
        return (
            float(np.polyfit(x, np.log(self.seconds), 1)[0]),
            float(np.polyfit(x, np.log(self.tokens), 1)[0]),
        )


def run() -> Sequence[Line]:
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
    lines: list[Line] = []
    for axis in axes:
        time, tokens = axis.slopes
        lines.append(
            Share(
                job=f"growth with {axis.name}",
                kind="slope of time less slope of distinct tokens",
                value=time - tokens,
                must_be=0.1,
                at_most=True,
                setting={
                    "sizes": list(axis.sizes),
                    "seconds": list(axis.seconds),
                    "distinct_tokens": list(axis.tokens),
                    "slope_of_time": time,
                    "slope_of_distinct_tokens": tokens,
                    "model": "nano",
                },
            )
        )
    return lines


def draw(axes: Sequence[Axis], path: Path) -> None:
    """Time against size on log axes, the distinct tokens scaled to meet it at the first size."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "luthier"
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(axes), figsize=(3.2 * len(axes), 3.2))
    for place, axis in zip(places, axes, strict=True):
        scale = axis.seconds[0] / axis.tokens[0]
        place.loglog(axis.sizes, axis.seconds, "o-", label="time")
        place.loglog(axis.sizes, [t * scale for t in axis.tokens], "--", label="distinct tokens")
        place.set_xlabel(axis.name)
        place.set_xticks(axis.sizes, [str(s) for s in axis.sizes])
        place.minorticks_off()
        place.set_title("time {:.2f}, tokens {:.2f}".format(*axis.slopes), fontsize=9)
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
    return Axis(name, sizes, tuple(seconds), tuple(case(s).distinct_tokens for s in sizes))


def _trials(sizes: tuple[int, ...], *, steps: int = 6) -> Axis:
    """Soft prompts after the input: the inputs once, then virtual tokens and answers a trial."""
    ground = Ground.of(Task.load("routing"), tokens=20)
    ground = replace(ground, rows=ground.rows[: steps * 16])
    seconds, tokens = [], []
    inputs = sum(r.start for r in ground.rows)
    # A trained token costs a forward and a backward pass.
    moving = 2 * sum(20 + len(r.answer) - 1 for r in ground.rows)
    for size in sizes:
        seconds.append(
            min(
                timed(
                    lambda n=size: train_prompts(ground, [0.3] * n, placement="after", steps=steps)
                )[0]
                for _ in range(2)
            )
        )
        tokens.append(inputs + size * moving)
    return Axis("trials", sizes, tuple(seconds), tuple(tokens))
