"""What a backend that draws promises besides: files, seeds, negative prompts, slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from luthier.errors import CapabilityError
from luthier.images.drawing import Pixels
from luthier.images.picture_files import open_picture
from luthier.models.adaptation import Adaptation, Decoding, Head
from luthier.models.backend import Backend, GenerateRequest
from luthier.models.prompt import Rendered
from luthier.testing.expectations import expect, expect_equal, expect_error

NEAR = 2  # levels of 255: batches of other sizes round otherwise
QUICK = Adaptation(decoding=Decoding(steps=2, guidance_scale=3.0))
WORDS = ("a red circle", "a blue square on a white background", "a red star above a blue shape")


def check_drawing(backend: Backend) -> None:
    """Hold a backend with `Capability.DRAWING` to its contract.

    An answer is the path of a picture file; what is drawn depends on prompt and seed, and neither
    on the other requests nor on their order; usage counts passes; a slot that cannot be used
    raises CapabilityError.
    """
    requests = [GenerateRequest(Rendered(text), seed=i) for i, text in enumerate(WORDS)]
    answers = backend.generate(requests, QUICK)
    together = _pictures(backend, requests)
    expect(all(p.ndim == 3 and p.shape[2] == 3 for p in together), "pictures have three colours")
    for answer in answers:
        expect(Path(answer.text).suffix == ".png", "the text of an answer is the path of a PNG")
        usage = answer.usage
        most = backend.answer_tokens(QUICK.decoding)
        expect(usage.calls == 1 and usage.prompt_tokens > 0, "usage must count words and one call")
        expect(0 < usage.generated_tokens <= most, "usage must count passes, as answer_tokens says")
    for picture, request in zip(together, requests, strict=True):
        alone = _pictures(backend, [request])[0]
        expect(near(alone, picture), "a picture depends on what else is in the batch")
    turned = _pictures(backend, requests[::-1])[::-1]
    same = all(near(a, b) for a, b in zip(turned, together, strict=True))
    expect(same, "a picture depends on the order of requests")
    other = _pictures(backend, [replace(requests[0], seed=99)])[0]
    expect(not near(other, together[0]), "another seed must draw another picture")
    sampled = backend.generate([replace(requests[0], samples=3)], QUICK)[0]
    expect_equal(len(sampled.others), 2, "of three samples the further two must be in `others`")
    expect(near(open_picture(sampled.text), together[0]), "the first sample has the request's seed")
    expect_equal(backend.generate([], QUICK), [], "no requests, no pictures")
    own = replace(requests[0], decoding=Decoding(steps=1, guidance_scale=1.0))
    used = backend.generate([own], QUICK)[0].usage.generated_tokens
    expect(used <= backend.answer_tokens(Decoding(steps=1)), "a request's decoding comes first")
    request = GenerateRequest(Rendered(WORDS[0]))
    joined = "".join(backend.stream(request, QUICK))
    expect_equal(joined, backend.generate([request], QUICK)[0].text, "a stream is the path")
    head = Head(np.zeros((2, 3)), np.zeros(2), ("a", "b"), 0)  # type: ignore[arg-type]
    with expect_error(CapabilityError, "a head cannot draw, and the backend must say so"):
        backend.generate(requests, Adaptation(head=head))


def near(picture: Pixels, other: Pixels) -> bool:
    """Whether two pictures are equal but for rounding."""
    if picture.shape != other.shape:
        return False
    return int(np.abs(picture.astype(int) - other.astype(int)).max()) <= NEAR


def _pictures(backend: Backend, requests: Sequence[GenerateRequest]) -> list[Pixels]:
    return [open_picture(answer.text) for answer in backend.generate(requests, QUICK)]
