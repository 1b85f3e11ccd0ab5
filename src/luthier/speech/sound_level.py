"""What is in a recording before anybody listens to it: silence, noise, or something that may be
speech.

Speech is loud in few frequencies at a time, noise in all: the spectral flatness of a frame is the
geometric mean of its power spectrum over the arithmetic one, 0.56 for white noise, 0.01 to 0.2 for
most of what is said.
"""

from __future__ import annotations

import numpy as np

from luthier.speech.sound_file import RATE, Samples

SILENCE_DB = -65.0  # below full scale; a quiet telephone line lies above
NOISE_FLATNESS = 0.25
NOISE_SHARE = 0.9  # of the loud frames
_FRAME = RATE // 40  # 25 ms
_BAND = (200.0, 3800.0)  # Hz: what a telephone carries
_BELOW_PEAK_DB = 25.0  # a frame quieter than this against the loudest is a pause


class SoundLevel:
    """Collects what the pieces of one recording hold."""

    def __init__(self) -> None:
        self._levels: list[np.ndarray] = []
        self._flatness: list[np.ndarray] = []
        window = np.hanning(_FRAME).astype(np.float32)
        hertz = np.fft.rfftfreq(_FRAME, 1 / RATE)
        self._window, self._in_band = window, (hertz >= _BAND[0]) & (hertz <= _BAND[1])

    def add(self, samples: Samples) -> None:
        """Look at one more piece."""
        count = len(samples) // _FRAME
        if not count:
            return
        frames = samples[: count * _FRAME].reshape(count, _FRAME)
        self._levels.append(10 * np.log10((frames**2).mean(1) + 1e-12))
        power = np.abs(np.fft.rfft(frames * self._window)[:, self._in_band]) ** 2 + 1e-12
        self._flatness.append(np.exp(np.log(power).mean(1)) / power.mean(1))

    @property
    def fault(self) -> str | None:
        """Why nothing can be understood in it, None where there may be speech."""
        if not self._levels:
            return "it holds no sound"
        levels, flatness = np.concatenate(self._levels), np.concatenate(self._flatness)
        if levels.max() < SILENCE_DB:
            return "silence"
        loud = levels > max(SILENCE_DB, levels.max() - _BELOW_PEAK_DB)
        if (flatness[loud] > NOISE_FLATNESS).mean() >= NOISE_SHARE:
            return "noise, and no speech"
        return None
