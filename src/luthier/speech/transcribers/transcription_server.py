"""A server's `/audio/transcriptions`, as OpenAI, vLLM, speaches and others have it."""

from __future__ import annotations

import io

from luthier.errors import BackendError
from luthier.models.endpoint_calls import calling
from luthier.models.endpoint_client import open_client
from luthier.speech.sound_file import RATE, Samples
from luthier.speech.transcriber import Transcriber

DEFAULT_MODEL = "whisper-1"


class TranscriptionServer(Transcriber):
    """One model behind an address, "http://host:port/v1#model"."""

    piece_seconds = 600.0  # a file of FLAC far below the 25 MB that OpenAI takes
    concurrent = True

    def __init__(self, name: str) -> None:
        self.name = self.identity = name
        self.url, _, model = name.partition("#")
        self.model = model or DEFAULT_MODEL
        self._client = open_client(self.url)

    def hear(self, samples: Samples) -> str:
        """What the server heard. BackendError where it fails or sends no text."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
        upload = ("recording.flac", file.getvalue(), "audio/flac")
        with calling(self.url):
            reply = self._client.audio.transcriptions.create(
                file=upload, model=self.model, response_format="json", temperature=0.0
            )
        text = getattr(reply, "text", None)
        if not isinstance(text, str):
            raise BackendError(
                f"{self.url} sent no transcript, but {str(reply)[:200]}",
                next_step="Is the address that of the API? It mostly ends in /v1.",
            )
        return text.strip()
