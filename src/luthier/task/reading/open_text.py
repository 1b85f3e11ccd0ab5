"""Text files opened as they are: compressed or not, in the encoding that their bytes show."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, cast

from luthier.errors import TaskError
from luthier.safety.plain_files import open_plain
from luthier.tabular import encoding_of

COMPRESSED = (".gz", ".bz2", ".xz")
HEAD_BYTES = 65_536
MOST_UNPACKED_BYTES = 2_000_000_000
# What a file begins with that is no text, whatever its name says.
_NO_TEXT = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
)
# Encodings that a guess may name: a text of theirs reads as nonsense in all the others.
_TELLING = frozenset(
    ["shift_jis", "cp932", "euc_jp", "gb18030", "gbk", "gb2312", "big5", "big5hkscs", "euc_kr",
     "cp949", "johab", "cp1251", "koi8_r", "cp866", "iso8859_5", "cp1253", "cp1255", "cp1256"]
)  # fmt: skip
_ONE_BYTE = ("cp1252", "latin-1", "iso8859-1", "iso8859-15", "cp1250", "cp850", "mac-roman")


def data_suffix(path: Path) -> str:
    """The suffix that says the format, in lower case: ".csv" of rows.csv and of rows.csv.gz."""
    name = Path(path.stem) if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """The text of a file, its line ends as they are.

    A mark at the beginning and the zeros of UTF-16 say more than `encoding`. TaskError for what is
    no text, is not in that encoding, or cannot be read.
    """
    with _reading(path):
        with _open_bytes(path) as raw:
            head = raw.read(HEAD_BYTES)
        for start, what in _NO_TEXT:
            if head.startswith(start):
                raise TaskError(
                    f"{path.name} is {what}, not text",
                    next_step="Save it as CSV (UTF-8) or JSONL, or name it by what it is.",
                )
        shown = encoding_of(head)
        codec = shown or encoding
        try:
            with (
                _open_bytes(path) as raw,
                io.TextIOWrapper(raw, encoding=codec, newline="") as stream,
            ):
                yield stream
        except UnicodeError as error:
            raise _wrong_encoding(path, codec, error) from error


def encoding_note(path: Path, encoding: str) -> str | None:
    """That a file is read in an encoding of one byte a letter, and is UTF-8; None elsewhere."""
    name = codecs.lookup(encoding).name
    if name not in {codecs.lookup(one).name for one in _ONE_BYTE}:
        return None
    with _reading(path), _open_bytes(path) as raw:
        head = raw.read(1_000_000)
    if encoding_of(head) is not None or head.isascii():
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    return (
        f"{path.name} is read as {encoding}, as the task file says, but all of it is UTF-8: "
        "letters such as é come out as two others. Leave `encoding` out."
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise TaskError(
            f"{path.name} is compressed, and broken: {error}",
            next_step="Copy or download it again.",
        ) from error
    except OSError as error:
        raise TaskError(
            f"cannot read {path}: {error.strerror or error}",
            next_step="Check the path and its permissions.",
        ) from error


def _open_bytes(path: Path) -> IO[bytes]:
    with open_plain(path) as file:
        start = file.read(6)
    for magic, opened in _OPENERS:
        if start.startswith(magic):
            return cast(IO[bytes], _Unpacked(opened(path)))
    return open_plain(path)


_OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open),
)  # fmt: skip


class _Unpacked(io.BufferedIOBase):
    """A compressed file as its content, up to a bound: a small one may unpack to anything."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._left = raw, MOST_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        block = self._raw.read(-1 if size is None else size)
        self._left -= len(block)
        if self._left < 0:
            raise OSError(None, f"it unpacks to more than {MOST_UNPACKED_BYTES:,} bytes")
        return block

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(HEAD_BYTES if size < 0 else size)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _wrong_encoding(path: Path, encoding: str, error: UnicodeError) -> TaskError:
    shown = "utf-8" if encoding == "utf-8-sig" else encoding
    with _open_bytes(path) as stream:
        offset, byte = _first_undecodable(stream, encoding)
    likely = _likely(path) if shown == "utf-8" else "utf-8"
    place = f"byte {byte:#04x} at offset {offset:,}" if byte is not None else str(error)
    return TaskError(
        f"{path.name} is not {shown}: {place}",
        choices=("utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", "gb18030"),
        next_step=f"Save it as UTF-8, or say how it was written: `encoding: {likely}`.",
    )


def _likely(path: Path) -> str:
    """The encoding to propose: that of an alphabet or a script that shows itself, or cp1252."""
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "cp1252"
    with _open_bytes(path) as stream:
        best = from_bytes(stream.read(HEAD_BYTES)).best()
    return best.encoding if best is not None and best.encoding in _TELLING else "cp1252"


def _first_undecodable(stream: Any, encoding: str) -> tuple[int, int | None]:
    """The offset and the byte at which decoding fails; the exception counts from its own chunk."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    position = 0
    while True:
        chunk = stream.read(1 << 16)
        try:
            pending = len(decoder.getstate()[0])
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return position - pending + error.start, error.object[error.start]
        except UnicodeError:
            return position, None
        if not chunk:
            return position, None
        position += len(chunk)
