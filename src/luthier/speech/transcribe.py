"""Transcripts of sound files, each made once: they are kept by the content of the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from luthier.context import report_progress
from luthier.errors import TaskError
from luthier.ledger.cache import ResponseCache, default_cache_path, response_key
from luthier.models.endpoint_calls import in_parallel
from luthier.speech.sound_file import UnusableSoundError, pieces_of, sound_seconds
from luthier.speech.sound_level import SoundLevel
from luthier.speech.transcriber import Transcriber

CACHE_FILE = "transcripts.sqlite"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one file. `fault` says why `text` is empty, where it is; `seconds` is None
    where the file cannot be read."""

    text: str = ""
    seconds: float | None = None
    fault: str | None = None


def transcribe(paths: Sequence[Path], transcriber: Transcriber) -> list[Heard]:
    """What was said in each file, in order. Files that were heard before are not heard again.

    A file that is silent, noise, broken or no sound has a `fault`. Errors of the transcriber itself
    are raised; what was heard until then is kept.
    """
    cache = ResponseCache(default_cache_path().with_name(CACHE_FILE))
    try:
        facts = [_facts(path) for path in paths]
        found = [_cached(cache, transcriber, path, known) for path, known in
                 zip(paths, facts, strict=True)]  # fmt: skip
        missing = [i for i, heard in enumerate(found) if heard is None]
        whole = sum(facts[i].seconds or 0.0 for i in missing)
        batch = 8 if transcriber.concurrent else 1
        done = 0.0
        for begin in range(0, len(missing), batch):
            some = missing[begin : begin + batch]
            words = f"transcribing {begin + 1} of {len(missing)} recordings"
            report_progress(done, whole, f"{words} ({whole / 60:.1f} minutes in all)")
            for i, heard in zip(
                some, in_parallel(lambda i: _hear(paths[i], transcriber), some), strict=True
            ):
                found[i] = heard
                done += heard.seconds or 0.0
                _keep(cache, transcriber, paths[i], heard)
        return [heard or Heard() for heard in found]
    finally:
        cache.close()


def _facts(path: Path) -> Heard:
    try:
        return Heard(seconds=sound_seconds(path))
    except UnusableSoundError as error:
        return Heard(fault=str(error))


def _hear(path: Path, transcriber: Transcriber) -> Heard:
    level, texts, seconds = SoundLevel(), list[str](), sound_seconds(path)
    try:
        for piece in pieces_of(path, transcriber.piece_seconds):
            level.add(piece)
            own = SoundLevel()
            own.add(piece)
            if own.fault is None:  # some recognisers make words of silence
                texts.append(transcriber.hear(piece))
    except UnusableSoundError as error:
        return Heard("", seconds, str(error))
    if level.fault is not None:
        return Heard("", seconds, level.fault)
    text = " ".join(filter(None, (text.strip() for text in texts)))
    return Heard(text, seconds, None if text else "no words were understood")


def _cached(
    cache: ResponseCache, transcriber: Transcriber, path: Path, known: Heard
) -> Heard | None:
    """What is known already: a file that cannot be used, or one that was heard before."""
    if known.fault is not None:
        return known
    stored = cache.get(_key(transcriber, path))
    return None if stored is None else Heard(**json.loads(stored))


def _keep(cache: ResponseCache, transcriber: Transcriber, path: Path, heard: Heard) -> None:
    cache.put(_key(transcriber, path), json.dumps(asdict(heard)))


def _key(transcriber: Transcriber, path: Path) -> str:
    """A file is known by its content, wherever it lies and whatever it is called."""
    try:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise TaskError(
            f"the recording {path} cannot be read: {error.strerror or error}",
            next_step="Check the file and its permissions.",
        ) from error
    return response_key(model=transcriber.identity, prompt=content, decoding="transcript", seed=0)
