"""What was said? Sound files, what is in them, and transcripts of them."""

from luthier.speech.transcribe import Heard, transcribe
from luthier.speech.transcriber import Transcriber, open_transcriber
from luthier.speech.word_errors import WordErrors, word_errors

__all__ = [
    "Heard",
    "Transcriber",
    "WordErrors",
    "open_transcriber",
    "transcribe",
    "word_errors",
]
