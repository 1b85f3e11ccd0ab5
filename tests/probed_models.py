"""Models with planted knowledge, for tests of the probe."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from luthier.content import Usage
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Generated, GenerateRequest, ScoreRequest, ScoreResult
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Capability

Answers = Callable[[str, random.Random], str]


@dataclass(eq=False)
class SamplingBackend(FakeBackend):
    """`say(prompt, random)` gives an answer; each sample draws anew, greedy ones always alike."""

    say: Answers = lambda prompt, rng: ""

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        found = []
        for request in requests:
            warm = (request.decoding or adaptation.decoding).temperature > 0
            text = request.prompt.text
            seeds = [request.seed + k if warm else -1 for k in range(request.samples)]
            drawn = [
                Generated(self.say(text, random.Random(f"{seed}{text}")), Usage(1, 1, 2, 1))
                for seed in seeds
            ]
            found.append(replace(drawn[0], others=tuple(drawn[1:])))
        return found


@dataclass(eq=False)
class ScoringBackend(FakeBackend):
    """`believe(prompt, continuation)` gives the evidence for an answer, in nats."""

    believe: Callable[[str, str], float] = lambda prompt, continuation: 0.0

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        found = []
        for request in requests:
            evidence = [self.believe(request.prompt.text, c.strip()) for c in request.continuations]
            total = math.log(sum(math.exp(e) for e in evidence))
            found.append(
                ScoreResult(
                    tuple(e - total for e in evidence), (1,) * len(evidence),
                    tuple(e == max(evidence) for e in evidence), Usage(1, 0, 1, 1),
                )
            )  # fmt: skip
        return found


def sampling(say: Answers) -> Model:
    """A model that gives no log-probabilities."""
    return Model(SamplingBackend(say=say, capabilities=frozenset({Capability.TEXT})))


def scoring(believe: Callable[[str, str], float]) -> Model:
    """A model that gives log-probabilities."""
    return Model(ScoringBackend(believe=believe))


def last_input(prompt: str) -> str:
    """The text behind the first name of a prompt's last block ("Input:", "Question:")."""
    block = re.split(r"\n\s*\n", prompt.strip())[-1]
    lines = [line for line in block.splitlines() if ":" in line]
    return lines[0].partition(":")[2].strip() if lines else block
