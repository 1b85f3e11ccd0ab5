"""How far answers to one question agree with each other, where no log-probability tells.

The same question is asked k times with sampling, and equal answers form clusters. A base that knows
says the same each time; one that makes things up says something else each time. The semantic
entropy is −Σ_c p_c log p_c over clusters (Kuhn et al. 2023, arXiv:2302.09664, section 3), here with
equality by words in place of a model that judges entailment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

from luthier.context import report_progress
from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.models.parsing import read_response
from luthier.records import Example
from luthier.scoring.scorers.short_answers import normalised, token_f1

SAME = 0.8  # F1 over words, above which two answers with the same numbers are one
TEMPERATURE = 1.0
CHUNK = 16  # questions that are asked together
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class SampleAgreement:
    """How `samples` answers to one question agree: the `share` of them that are equal to the answer
    that was given, the `entropy` over clusters in nats, and their number."""

    samples: int
    share: float
    entropy: float
    clusters: int


def same_answer(first: str, second: str) -> bool:
    """Whether two answers say the same: equal after SQuAD's normalisation, or nearly the same words
    and exactly the same numbers."""
    if normalised(first) == normalised(second):
        return True
    if _NUMBER.findall(first) != _NUMBER.findall(second):
        return False
    return token_f1(first, second) > SAME


def cluster_sizes(answers: Sequence[str]) -> list[int]:
    """How many answers each cluster has, in the order in which its first one came."""
    firsts: list[str] = []
    sizes: list[int] = []
    for answer in answers:
        place = next((i for i, f in enumerate(firsts) if same_answer(f, answer)), len(firsts))
        if place == len(firsts):
            firsts.append(answer)
            sizes.append(0)
        sizes[place] += 1
    return sizes


def semantic_entropy(sizes: Sequence[int]) -> float:
    """−Σ_c p_c log p_c in nats over clusters of these sizes; 0 without any."""
    total = sum(sizes)
    return max(0.0, -sum(n / total * log(n / total) for n in sizes if n))


def agreements(
    model: Model, examples: Sequence[Example], answers: Sequence[str], *, samples: int, seed: int
) -> list[SampleAgreement]:
    """For each example, how far sampled answers agree with each other and with the one in
    `answers`. What cannot be read counts as the answer ""."""
    decoding = replace(model.adaptation.decoding, temperature=TEMPERATURE, votes=1)
    found: list[SampleAgreement] = []
    for start in range(0, len(examples), CHUNK):
        report_progress(start, len(examples), f"asked {start} of {len(examples)} again")
        prompts = render_for(model, examples[start : start + CHUNK])
        requests = [GenerateRequest(p, seed, samples, decoding=decoding) for p in prompts]
        generated = model.backend.generate(requests, model.adaptation)
        for given, one in zip(answers[start : start + CHUNK], generated, strict=True):
            drawn = [read_response(model, g).parsed or "" for g in (one, *one.others)]
            found.append(_agreement(given, drawn))
    return found


def _agreement(given: str, drawn: Sequence[str]) -> SampleAgreement:
    sizes = cluster_sizes(drawn)
    share = sum(same_answer(given, answer) for answer in drawn) / len(drawn)
    return SampleAgreement(len(drawn), share, semantic_entropy(sizes), len(sizes))
