"""The contract of a transcriber: text of sound, the same each time, and the sound unchanged."""

from __future__ import annotations

from typing import cast

import numpy as np

from luthier.speech.sound_file import RATE, Samples
from luthier.speech.transcriber import Transcriber
from luthier.testing.expectations import expect, expect_equal


def check_transcriber(transcriber: Transcriber, *, samples: Samples | None = None) -> None:
    """Hold a transcriber to its contract on a piece of sound: by default half a second of a tone,
    in which nothing need be understood."""
    expect(transcriber.name, "a transcriber must have a name")
    expect(transcriber.identity, "a transcriber must have an identity")
    expect(transcriber.piece_seconds >= 1, "a piece must be a second long at least")
    if samples is None:
        samples = np.sin(2 * np.pi * 220 * np.arange(RATE // 2) / RATE).astype(np.float32)
    before = samples.copy()
    heard = transcriber.hear(samples)
    expect(isinstance(cast(object, heard), str), "what is heard must be a text")
    expect_equal(heard, heard.strip(), "what is heard has white space around it")
    expect(np.array_equal(samples, before), "hearing must not change the samples")
    expect_equal(transcriber.hear(samples), heard, "the same sound must be heard the same")
