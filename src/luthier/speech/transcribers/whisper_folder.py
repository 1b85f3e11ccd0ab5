"""A folder of a Whisper model, run by Transformers (Radford et al. 2022, arXiv:2212.04356)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.speech.sound_file import RATE, Samples
from luthier.speech.transcriber import Transcriber

# Files that decide what is heard.
_TELLING = ("*.safetensors", "*.json")


class WhisperFolder(Transcriber):
    """A Whisper model in a local folder. It hears half a minute at a time."""

    def __init__(self, name: str) -> None:
        folder = Path(name).expanduser()
        _check(folder)
        import torch
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

        self.name = name
        self.identity = f"whisper {_digest(folder)}"
        try:
            self._processor: Any = AutoProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            model: Any = AutoModelForSpeechSeq2Seq.from_pretrained(
                folder,
                local_files_only=True,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
            )
        # Missing weights, tokenizers and processors raise nearly anything.
        except Exception as error:
            raise ModelError(
                f"{folder} cannot be opened as a Whisper model: {error}"[:300],
                next_step="Name a folder with config.json, model.safetensors, the tokenizer's "
                "files and preprocessor_config.json.",
            ) from error
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(self._device).eval()
        self.piece_seconds = float(self._processor.feature_extractor.chunk_length)

    def hear(self, samples: Samples) -> str:
        """The likeliest words of the piece; the language is found out where the model knows
        several."""
        import torch

        listen = self._processor.feature_extractor
        features = listen(samples, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            ids = self._model.generate(features.input_features.to(self._device))
        texts = self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return str(texts[0]).strip()


def _check(folder: Path) -> None:
    """ModelError where a folder is of another kind of model; no weights are read."""
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{folder} holds no model: its config.json cannot be read",
            next_step="Name the folder of a Whisper model in `transcribe`.",
        ) from error
    if kind != "whisper":
        raise ModelError(
            f"{folder} holds a model of type {kind!r}, and recordings are transcribed by Whisper",
            next_step="Name the folder of a Whisper model in `transcribe`, or a server.",
        )


def _digest(folder: Path) -> str:
    """SHA-256 over the files that decide what is heard."""
    total = hashlib.sha256()
    for pattern in _TELLING:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
