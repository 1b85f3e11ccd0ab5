"""PocketSphinx: a small English model that its wheel carries. It needs no network and no download,
and it is rough: good enough to see the path work, not to judge by."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.errors import TaskError
from luthier.speech.sound_file import Samples
from luthier.speech.transcriber import Transcriber


class PocketSphinx(Transcriber):
    """The default English model of PocketSphinx."""

    piece_seconds = 60.0

    def __init__(self, name: str = "pocketsphinx") -> None:
        from importlib.metadata import version

        try:
            import pocketsphinx
        except ImportError as error:
            raise TaskError(
                "recordings are transcribed with the package pocketsphinx, which is not installed",
                choices=("pip install 'luthier[audio]'", "transcribe: FOLDER-OF-A-WHISPER",
                         "transcribe: http://HOST/v1#MODEL"),
                next_step="Install it, or name another transcriber in `transcribe`.",
            ) from error  # fmt: skip
        self.name = name
        self.identity = f"pocketsphinx {version('pocketsphinx')}"
        # "batch": each piece is levelled by itself, so that none depends on those before it.
        self._decoder: Any = pocketsphinx.Decoder(loglevel="FATAL", cmn="batch")

    def hear(self, samples: Samples) -> str:
        """The likeliest words of the piece."""
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return "" if found is None else str(found.hypstr).strip()
