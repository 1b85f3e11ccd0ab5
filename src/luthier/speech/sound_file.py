"""Sound files as samples: any format that libsndfile reads (WAV, FLAC, MP3, Ogg), in one channel
and at one rate, a piece at a time, so that an hour takes no more memory than a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import TaskError

RATE = 16_000  # samples a second, which every recogniser of speech wants
SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au")
LONGEST_SECONDS = 4 * 3600.0
_BLOCK_SECONDS = 30.0
_SEARCHED_SECONDS = 10.0  # at the end of a piece, for a quiet place to cut at
_QUIET_SECONDS = 0.2
_LEAST_SHARE = 0.95  # of the samples that the header promises

Samples = NDArray[np.float32]


class UnusableSoundError(Exception):
    """A file that is no sound, or none that can be transcribed; the message says why."""


def names_sound(text: str) -> bool:
    """Whether a text is the name of a sound file, by its end."""
    return "\n" not in text and text.lower().endswith(SUFFIXES)


def sound_seconds(path: Path) -> float:
    """How long a recording is, as its header says. UnusableSoundError."""
    with _opened(path) as sound:
        seconds = sound.frames / sound.samplerate
    if seconds > LONGEST_SECONDS:
        raise UnusableSoundError(f"longer than {LONGEST_SECONDS / 3600:.0f} hours")
    return float(seconds)


def pieces_of(path: Path, seconds: float) -> Iterator[Samples]:
    """The samples of a file in pieces of at most `seconds`, each cut at a quiet place.

    Channels are averaged. UnusableSoundError for what cannot be read, even in the middle.
    """
    most = round(seconds * RATE)
    kept: Samples = np.zeros(0, dtype=np.float32)
    for block in _blocks(path):
        kept = np.concatenate([kept, block])
        while len(kept) > most:
            end = quiet_place(kept[:most])
            yield kept[:end]
            kept = kept[end:]
    if len(kept):
        yield kept


def quiet_place(samples: Samples) -> int:
    """The middle of the quietest fifth of a second in the last ten seconds (or the last half)."""
    window = round(_QUIET_SECONDS * RATE)
    begin = max(len(samples) // 2, len(samples) - round(_SEARCHED_SECONDS * RATE))
    frames = (len(samples) - begin) // window
    if frames < 1:
        return len(samples)
    searched = samples[begin : begin + frames * window].reshape(frames, window)
    return begin + int((searched**2).sum(1).argmin()) * window + window // 2


def _blocks(path: Path) -> Iterator[Samples]:
    """The samples of a file at `RATE` and in one channel, half a minute at a time."""
    from math import gcd

    import soundfile
    from scipy.signal import resample_poly

    with _opened(path) as sound:
        size, shared = round(_BLOCK_SECONDS * sound.samplerate), gcd(RATE, sound.samplerate)
        read = 0
        while True:
            try:
                block = sound.read(size, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise UnusableSoundError(f"it breaks off{_words(error)}") from error
            read += len(block)
            if not len(block):
                if read < _LEAST_SHARE * sound.frames:
                    raise UnusableSoundError(
                        f"it breaks off after {read / sound.samplerate:.0f} of "
                        f"{sound.frames / sound.samplerate:.0f} seconds"
                    )
                return
            mono = block.mean(1)
            if not np.isfinite(mono).all():
                raise UnusableSoundError("it holds samples that are no numbers")
            if sound.samplerate != RATE:
                mono = resample_poly(mono, RATE // shared, sound.samplerate // shared)
            yield mono.astype(np.float32)


def _opened(path: Path) -> Any:
    soundfile = _soundfile()
    if not path.is_file():
        raise UnusableSoundError("there is no such file")
    if not path.stat().st_size:
        raise UnusableSoundError("the file is empty")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnusableSoundError(f"it cannot be read as sound{_words(error)}") from error


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the wheel's library does not load here
        raise TaskError(
            "sound files need the package soundfile", next_step="pip install 'luthier[audio]'"
        ) from error
    return soundfile


def _words(error: Exception) -> str:
    """What libsndfile says, where that tells something."""
    said = str(getattr(error, "error_string", error)).strip().rstrip(".")
    said = said.removeprefix("Error : ")
    return "" if not said or said.startswith("File does not exist") else f": {said}"
