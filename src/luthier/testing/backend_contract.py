"""The contract of a backend: facts, text, scores, and for each capability what it promises."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import (
    Backend,
    GenerateRequest,
    ModelFacts,
    PooledStates,
    ScoreRequest,
)
from luthier.models.prompt import Rendered
from luthier.records import Capability
from luthier.testing.drawing_contract import check_drawing
from luthier.testing.expectations import expect, expect_close, expect_equal, expect_error

PROMPTS = tuple(
    Rendered(text=text)
    for text in (
        "Input: where is my parcel\nLabel:",
        "Input: pay\nLabel:",
        "Input: my card was charged twice for one tent and I would like the money back\nLabel:",
    )
)
LABELS = (" delivery", " billing", " account access")
TEXTS = ("where is my parcel", "pay my bill and then pay it again")
SHORT = Adaptation(decoding=Decoding(max_new_tokens=4))


def check_backend(backend: Backend) -> None:
    """Hold a backend to its contract.

    Facts are facts, the base stays what it is, answers keep their order and do not depend on what
    else is in the batch, and a capability that is not declared raises CapabilityError.
    """
    _check_facts(backend)
    before = backend.fingerprint
    if Capability.DRAWING in backend.capabilities:
        check_drawing(backend)
    else:
        _check_generation(backend)
        _check_streaming(backend)
    for capability, check, ask in (
        (Capability.LOGPROBS, _check_scores, lambda: backend.score(_score_requests(), SHORT)),
        (Capability.LOGPROBS, _check_texts, lambda: backend.text_logprobs(TEXTS, SHORT)),
        (Capability.MIXTURES, _check_mixtures, lambda: _mixture(backend)),
        (Capability.EMBEDDINGS, _check_states, lambda: _states(backend, PROMPTS)),
        (Capability.GRADIENTS, _check_training, lambda: _trained(backend)),
        (Capability.GRADIENTS, _check_export, lambda: backend.export_base(Path("nowhere"))),
    ):
        _check_capability(backend, capability, check, ask)
    expect_equal(backend.fingerprint, before, "the base changed")


def _check_capability(
    backend: Backend,
    capability: Capability,
    check: Callable[[Backend], None],
    ask: Callable[[], Any],
) -> None:
    if capability in backend.capabilities:
        check(backend)
        return
    if capability is Capability.GRADIENTS and Capability.DRAWING in backend.capabilities:
        return  # what draws is trained on pictures, and exported as a pipeline
    with expect_error(CapabilityError, f"without {capability} it must say so"):
        ask()


def _check_facts(backend: Backend) -> None:
    expect(issubclass(type(backend), Backend), "a backend must subclass luthier's Backend")
    expect(backend.name, "a backend must have a name")
    expect_equal(len(backend.fingerprint), 64, "the fingerprint must be a SHA-256 in hex")
    expect(backend.capabilities, "a backend must have a capability")
    known = backend.capabilities <= frozenset(Capability)
    expect(known, "capabilities must be members of Capability")
    expect(type(backend.facts) is ModelFacts, "facts must be ModelFacts")
    expect(backend.count_tokens("three short words") >= 1, "words must count as tokens")
    long = backend.count_tokens("three short words " * 20)
    expect(long > backend.count_tokens("three short words"), "more text must be more tokens")
    special = backend.special_texts()
    expect(all(special), "special texts must not be empty")
    lengths = [len(text) for text in special]
    expect_equal(lengths, sorted(lengths, reverse=True), "special texts must come longest first")
    expect(backend.precision is None or backend.precision, "precision must be None or a name")
    speed = backend.tokens_per_second()
    expect(speed is None or speed > 0, "tokens_per_second must be None or positive")


def _check_generation(backend: Backend) -> None:
    requests = [GenerateRequest(prompt) for prompt in PROMPTS]
    together = [g.text for g in backend.generate(requests, SHORT)]
    alone = [backend.generate([request], SHORT)[0].text for request in requests]
    expect_equal(together, alone, "a text depends on what else is in the batch")
    expect_equal([g.text for g in backend.generate(requests, SHORT)], together, "text must repeat")
    for generated in backend.generate(requests, SHORT):
        usage = generated.usage
        expect(usage.prompt_tokens > 0 and usage.calls == 1, "usage must count tokens and one call")
        expect(usage.generated_tokens <= 4, "max_new_tokens must be kept")
    expect_equal(backend.generate([], SHORT), [], "no requests, no texts")
    own = Decoding(max_new_tokens=1)
    short = backend.generate([GenerateRequest(PROMPTS[2], decoding=own)], SHORT)[0]
    expect(short.usage.generated_tokens <= 1, "the decoding of a request must come first")
    sampled = backend.generate([GenerateRequest(PROMPTS[0], samples=3)], SHORT)[0]
    expect_equal(len(sampled.others), 2, "of three samples the further two must be in `others`")


def _check_streaming(backend: Backend) -> None:
    for prompt in PROMPTS:
        request = GenerateRequest(prompt)
        joined = "".join(backend.stream(request, SHORT))
        whole = backend.generate([request], SHORT)[0].text
        expect_equal(joined, whole, "the pieces of a stream must join to the generated text")


def _score_requests() -> list[ScoreRequest]:
    return [ScoreRequest(prompt, LABELS) for prompt in PROMPTS]


def _check_scores(backend: Backend) -> None:
    requests = _score_requests()
    for request, result in zip(requests, backend.score(requests, SHORT), strict=True):
        alone = backend.score([request], SHORT)[0].logprobs
        expect_close(result.logprobs, alone, "a score depends on what else is in the batch")
        fine = all(math.isfinite(x) and x <= 1e-6 for x in result.logprobs)
        expect(fine, f"log-probabilities must be finite and not positive: {result.logprobs}")
        expect(all(n >= 1 for n in result.tokens), "every continuation has a token at least")
        turned = backend.score([ScoreRequest(request.prompt, LABELS[::-1])], SHORT)[0].logprobs
        expect_close(turned[::-1], result.logprobs, "a score depends on the order of continuations")
    expect_equal(backend.score([], SHORT), [], "no requests, no scores")


def _check_texts(backend: Backend) -> None:
    found = backend.text_logprobs(TEXTS, SHORT)
    for text, result in zip(TEXTS, found, strict=True):
        expect("".join(result.tokens).strip() == text, f"the tokens must join to {text!r}")
        expect_equal(len(result.tokens), len(result.logprobs), "one log-probability a token")
        known = [x for x in result.logprobs[1:] if x is not None]
        expect_equal(len(known), len(result.tokens) - 1, "only the first token may lack one")
        known += [x for x in result.logprobs[:1] if x is not None]
        fine = all(math.isfinite(x) and x <= 1e-6 for x in known)
        expect(fine, "log-probabilities of a text must be finite and not positive")
        expect(len(result.spreads) in (0, len(result.tokens)), "spreads: one a token, or none")
        spread = [x for x in result.spreads if x is not None]
        fine = all(mean <= 1e-6 and deviation >= 0.0 for mean, deviation in spread)
        expect(fine, "a mean log-probability is not positive, a deviation not negative")
        alone = backend.text_logprobs([text], SHORT)[0]
        expect_close(
            [x or 0.0 for x in alone.logprobs],
            [x or 0.0 for x in result.logprobs],
            "the log-probabilities of a text depend on the other texts",
        )
    expect_equal(backend.text_logprobs([], SHORT), [], "no texts, no log-probabilities")


def _states(backend: Backend, prompts: Sequence[Rendered]) -> list[PooledStates]:
    return backend.pooled_states(prompts, SHORT, layers=(0, backend.facts.layers or 0))


def _check_states(backend: Backend) -> None:
    expect(backend.facts.layers, "facts must say how many layers show their states")
    for prompt, found in zip(PROMPTS, _states(backend, PROMPTS), strict=True):
        alone = _states(backend, [prompt])[0]
        expect(found.tokens > 0, "the tokens that were read must be counted")
        expect_equal(found.last.shape, (2, backend.facts.hidden_size), "states must be (K, H)")
        expect_equal(found.mean.shape, found.last.shape, "both poolings must have one shape")
        for own, other in ((found.last, alone.last), (found.mean, alone.mean)):
            expect(bool((own == own).all()), "states must be numbers")
            # In half precision other batches round otherwise: what counts is the direction.
            cosine = float((own * other).sum() / ((own**2).sum() * (other**2).sum()) ** 0.5)
            expect(cosine > 0.999, "a state depends on what else is in the batch")
    expect_equal(_states(backend, []), [], "no prompts, no states")


def _mixture(backend: Backend) -> Any:
    return backend.score_mixture(PROMPTS[:1], [1.0], LABELS, SHORT)


def _check_mixtures(backend: Backend) -> None:
    """With one prompt of weight 1 a mixture is that prompt."""
    single = backend.score([ScoreRequest(PROMPTS[0], LABELS)], SHORT)[0].logprobs
    expect_close(_mixture(backend).logprobs, single, "a mixture of one prompt is that prompt")
    both = backend.score_mixture(PROMPTS[:2], [0.25, 0.75], LABELS, SHORT).logprobs
    turned = backend.score_mixture(PROMPTS[1::-1], [0.75, 0.25], LABELS, SHORT).logprobs
    expect_close(both, turned, "a mixture depends on the order of its prompts")
    text = backend.generate([GenerateRequest(PROMPTS[0])], SHORT)[0].text
    mixed = backend.generate_mixture(PROMPTS[:1], [1.0], SHORT).text
    expect_equal(mixed, text, "text under a mixture of one prompt is the text of that prompt")


def _trained(backend: Backend) -> None:
    session: AbstractContextManager[Any] = backend.session(SHORT)
    with session:
        pass


def _check_training(backend: Backend) -> None:
    requests = [GenerateRequest(prompt) for prompt in PROMPTS]
    before = [g.text for g in backend.generate(requests, SHORT)]
    _trained(backend)
    after = [g.text for g in backend.generate(requests, SHORT)]
    expect_equal(after, before, "a training session must leave the base as it was")


def _check_export(backend: Backend) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backend.export_base(Path(folder))
        expect((Path(folder) / "config.json").is_file(), "export_base must write config.json")
        expect(len(list(Path(folder).iterdir())) > 1, "export_base must write the tokenizer too")
