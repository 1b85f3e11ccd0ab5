"""Inputs that are sound files: what was said in them becomes the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from luthier.errors import TaskError
from luthier.records import Example, Recording, Transcripts
from luthier.speech import Heard, open_transcriber, transcribe, word_errors
from luthier.speech.sound_file import SUFFIXES, names_sound
from luthier.speech.transcriber import DEFAULT
from luthier.task.key_reader import short
from luthier.task.reading.cells import cell_text
from luthier.task.reading.examples import content_id
from luthier.task.reading.loaders import Table
from luthier.task.reading.python_function import names_function, split_function
from luthier.task.spec import SPLITS, TaskSpec

LONG_SECONDS = 1800.0
SHOWN = 5  # files that a message names
POOR = 0.3  # a word error rate above which answers suffer from what was heard
ROUGH = "a small model; a Whisper folder or a server in `transcribe` hears far better"


def transcribed(
    examples: Sequence[Example], table: Table, spec: TaskSpec, *, source: str
) -> tuple[list[Example], Transcripts | None]:
    """The examples with what was heard as their inputs, where these are sound files; as they are
    elsewhere.

    `source` is the file or function that the rows come from: sound files are looked for from its
    folder. TaskError for recordings in which nothing is understood, unless the task leaves such
    rows out (`skip_empty`).
    """
    folder = _folder(source)
    names = [example.text for example in examples]
    if not examples or not _are_recordings(names, spec, folder):
        return list(examples), None
    transcriber = open_transcriber(spec.transcribe or DEFAULT)
    heard = transcribe([_place(name, folder) for name in names], transcriber)
    given = _given(table, spec)
    recordings, kept = [], []
    for example, name, found in zip(examples, names, heard, strict=True):
        one = _recording(name, found, given.get(name))
        if found.fault is None:
            # By what was heard, not by a path, which is another one on every machine.
            key = example.id if spec.id else content_id(found.text, example.target, example.context)
            kept.append(replace(example, id=key, input=found.text))
            one = replace(one, example_id=key)
        recordings.append(one)
    if not spec.skip_empty:
        _refuse_faults(recordings, source)
    return kept, Transcripts(transcriber.name, tuple(recordings))


def recording_notes(transcripts: Transcripts) -> list[str]:
    """What a reader of the results should know of the recordings, a sentence each."""
    all_ = transcripts.recordings
    how = f" ({ROUGH})" if transcripts.transcriber == DEFAULT else ""
    rate = transcripts.word_error_rate
    notes = [
        f"{len(all_):,} recordings ({_minutes(transcripts.seconds)}) were transcribed by "
        f"{transcripts.transcriber}{how}."
    ]
    if rate is not None:
        measured = sum(r.word_errors is not None for r in all_)
        poor = ": answers cannot be better than what was heard" if rate > POOR else ""
        notes.append(
            f"Word errors: {100 * rate:.1f} % of the words of {measured:,} given transcripts{poor}."
        )
    faults = [r for r in all_ if r.fault is not None]
    if faults:
        notes.append(f"Left out: {_listed(faults)}.")
    long = [r for r in all_ if r.fault is None and (r.seconds or 0) > LONG_SECONDS]
    if long:
        named = ", ".join(f"{r.file} ({_minutes(r.seconds or 0)})" for r in long[:SHOWN])
        notes.append(
            f"{len(long):,} recording{'s are' if len(long) > 1 else ' is'} longer than "
            f"{LONG_SECONDS / 60:.0f} minutes: {named}. Of a transcript longer than the base's "
            "context the middle is left out."
        )
    return notes


def in_part(transcripts: Transcripts, part: str) -> Transcripts:
    """The transcripts of one source; where each split has its own, ids name it (as in `build`)."""
    if part not in SPLITS:
        return transcripts
    return replace(
        transcripts,
        recordings=tuple(
            r if r.example_id is None else replace(r, example_id=f"{part}-{r.example_id}")
            for r in transcripts.recordings
        ),
    )


def with_splits(
    heard: Sequence[Transcripts], splits: Mapping[str, Sequence[Example]]
) -> Transcripts | None:
    """The transcripts of all sources, each recording with the split of its example (None where that
    was left out as a copy); None where there are none."""
    if not heard:
        return None
    place = {example.id: part for part, some in splits.items() for example in some}
    return Transcripts(
        heard[0].transcriber,
        tuple(
            replace(r, split=None if r.example_id is None else place.get(r.example_id))
            for transcripts in heard
            for r in transcripts.recordings
        ),
    )


def _given(table: Table, spec: TaskSpec) -> dict[str, str]:
    """What was really said, by the cell that names the recording."""
    if spec.transcript is None:
        return {}
    cells = (
        (cell_text(row.get(spec.input), where="input"),
         cell_text(row.get(spec.transcript), where=spec.transcript))
        for _, row in table.rows
    )  # fmt: skip
    return {name: said for name, said in cells if name is not None and said is not None}


def _are_recordings(names: Sequence[str], spec: TaskSpec, folder: Path) -> bool:
    """Whether inputs are sound files: all are called so, and one is there at least.

    TaskError where the task asks for transcripts and an input is none.
    """
    other = next((name for name in names if not names_sound(name)), None)
    if spec.transcribe is None:
        return other is None and any(_place(name, folder).is_file() for name in names)
    if other is not None:
        raise TaskError(
            f"`transcribe` is set, and the input {short(other)} names no sound file",
            choices=SUFFIXES,
            next_step=f"Put the paths of sound files into {spec.input!r}, as seen from the folder "
            "of the data, or leave `transcribe` out.",
        )
    return True


def _recording(name: str, heard: Heard, given: str | None) -> Recording:
    found = Recording(name, heard.text, heard.seconds, given=given, fault=heard.fault)
    if given is None or heard.fault is not None:
        return found
    counted = word_errors(heard.text, given)
    return replace(found, word_errors=counted.errors, given_words=counted.words)


def _refuse_faults(recordings: Sequence[Recording], source: str) -> None:
    faults = [r for r in recordings if r.fault is not None]
    if faults:
        raise TaskError(
            f"{Path(source).name}: {_listed(faults)}",
            choices=("replace them", "remove their rows", "`skip_empty: true`"),
            next_step="`skip_empty: true` in the task file leaves such rows out and says so in "
            "the report.",
        )


def _listed(faults: Sequence[Recording]) -> str:
    named = "; ".join(f"{r.file}: {r.fault}" for r in faults[:SHOWN])
    more = f"; and {len(faults) - SHOWN:,} more" if len(faults) > SHOWN else ""
    which = "recording gives" if len(faults) == 1 else "recordings give"
    return f"{len(faults):,} {which} no transcript ({named}{more})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _folder(source: str) -> Path:
    if names_function(source):
        return split_function(source)[0].parent
    return Path(source).parent


def _place(name: str, folder: Path) -> Path:
    path = Path(name).expanduser()
    return path if path.is_absolute() else folder / path
