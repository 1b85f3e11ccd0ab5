"""The contract of a backend, for ours and a plugin's: `check_backend(backend)`."""

from __future__ import annotations

import math

import pytest

from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import Backend, GenerateRequest, ScoreRequest
from luthier.models.prompt import Rendered
from luthier.records import Capability

PROMPTS = [
    "Input: where is my parcel\nLabel:",
    "Input: pay\nLabel:",
    "Input: my card was charged twice for one tent and I would like the money back\nLabel:",
]
LABELS = (" delivery", " billing", " account access")


def check_backend(backend: Backend) -> None:
    """Facts are facts, the base stays, answers keep their order and do not depend on the batch."""
    assert backend.name
    assert len(backend.fingerprint) == 64
    assert backend.capabilities
    assert backend.capabilities <= frozenset(Capability)
    assert backend.count_tokens("three short words") >= 1
    before = backend.fingerprint
    decoding = Adaptation(decoding=Decoding(max_new_tokens=4))
    asked = [GenerateRequest(Rendered(text=text)) for text in PROMPTS]
    together = backend.generate(asked, decoding)
    assert [g.text for g in together] == [backend.generate([r], decoding)[0].text for r in asked]
    assert [g.text for g in together] == [g.text for g in backend.generate(asked, decoding)]
    assert all(g.usage.prompt_tokens > 0 and g.usage.calls == 1 for g in together)
    assert backend.generate([], decoding) == []
    requests = [ScoreRequest(Rendered(text=text), LABELS) for text in PROMPTS]
    if Capability.LOGPROBS not in backend.capabilities:
        with pytest.raises(CapabilityError):
            backend.score(requests, decoding)
        return
    scored = backend.score(requests, decoding)
    for request, result in zip(requests, scored, strict=True):
        alone = backend.score([request], decoding)[0]
        assert result.logprobs == pytest.approx(alone.logprobs, rel=1e-4, abs=1e-3)
        assert all(math.isfinite(x) and x <= 1e-6 for x in result.logprobs)
        assert all(n >= 1 for n in result.tokens)
        turned = backend.score([ScoreRequest(request.prompt, LABELS[::-1])], decoding)[0]
        assert turned.logprobs[::-1] == pytest.approx(result.logprobs, rel=1e-4, abs=1e-3)
    assert backend.score([], decoding) == []
    assert backend.fingerprint == before
