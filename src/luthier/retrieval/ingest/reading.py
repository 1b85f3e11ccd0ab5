"""A document out of its bytes, whatever they are: any failure of a reader makes it unreadable.

Formats with a parser of their own are read in a second process, which may run out of time, memory
or stack without harm to the first. The two speak JSON over pipes; the second one serves all
documents and ends with the first.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from luthier.errors import UserError
from luthier.retrieval.ingest.document import Document, Reader, Section, UnreadableError
from luthier.retrieval.ingest.pages import read_html, read_pdf
from luthier.retrieval.ingest.tables import read_csv, read_jsonl
from luthier.retrieval.ingest.text import read_markdown, read_python, read_text
from luthier.retrieval.ingest.word import read_docx
from luthier.safety.visible import storable

READERS: dict[str, Reader] = {
    ".md": read_markdown, ".markdown": read_markdown, ".html": read_html, ".htm": read_html,
    ".pdf": read_pdf, ".docx": read_docx, ".csv": read_csv, ".tsv": read_csv,
    ".jsonl": read_jsonl, ".py": read_python,
}  # fmt: skip
IN_THIS_PROCESS = frozenset([".csv", ".tsv", ".jsonl", ".txt"])
SECONDS, SECONDS_PER_MB = 20.0, 5.0  # that a reader may take
MOST_MEMORY_BYTES = 4 << 30  # of the second process
HEAD = 8  # bytes of a length
CODE = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from luthier.retrieval.ingest.reading import serve; serve()"
)


def read_bytes(suffix: str, data: bytes) -> Document:
    """The document in `data`, in the format of a suffix; UnreadableError, with the reason, where
    its reader fails in any way. UserError where a library is missing."""
    apart = suffix in READERS and suffix not in IN_THIS_PROCESS
    if apart and sys.executable:
        seconds = SECONDS + SECONDS_PER_MB * len(data) / 1e6
        document = _CHILD.read(suffix, data, seconds)
    else:
        document = _readable(suffix, data)
    if not document.text.strip():
        raise UnreadableError("it is empty")
    return document


def _readable(suffix: str, data: bytes) -> Document:
    try:
        return _clean(READERS.get(suffix, read_text)(data))
    except UserError:  # UnreadableError among them
        raise
    except (Exception, RecursionError, MemoryError) as error:
        raise UnreadableError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    words = " ".join(str(error).split())[:200]
    return f"its reader failed: {type(error).__name__}{': ' if words else ''}{words}"


def _clean(document: Document) -> Document:
    """The document with "?" for halves of surrogate pairs and "\N{REPLACEMENT CHARACTER}" for null
    characters, which no store takes. Positions stay."""
    text = _storable(document.text)
    if text is document.text and not any(s.headings or s.metadata for s in document.sections):
        return document
    sections = tuple(
        Section(
            s.start, s.end, tuple(map(_storable, s.headings)), s.page,
            {_storable(k): _storable(v) for k, v in s.metadata.items()},
        )
        for s in document.sections
    )  # fmt: skip
    return Document(text, sections)


def _storable(text: str) -> str:
    return storable(text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text)


class _ReaderProcess:
    """The second process, started when it is first needed and again after it had to be ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def read(self, suffix: str, data: bytes, seconds: float) -> Document:
        """The document; UnreadableError where the reader fails, is ended, or takes too long."""
        with self._lock:
            process = self._started()
            request = json.dumps({"suffix": suffix, "seconds": seconds}).encode()
            answer: list[bytes] = []
            exchange = threading.Thread(
                target=_exchange, args=(process, [request, data], answer), daemon=True
            )
            exchange.start()
            try:
                exchange.join(seconds)
            except BaseException:
                self.end()
                raise
            if exchange.is_alive():
                self.end()
                raise UnreadableError(f"its reader was not done after {seconds:.0f} seconds")
            if not answer:
                self.end()
                raise UnreadableError("its reader broke down (too little memory, or a fault in it)")
        return _document(json.loads(answer[0]))

    def end(self) -> None:
        """End the process; the next document starts another."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # a fork of the process that started it
            self._process, self._owner = None, os.getpid()
        if self._process is None or self._process.poll() is not None:
            self.end()
            root = str(Path(__file__).resolve().parents[3])
            self._process = subprocess.Popen(
                # -P: nothing is imported from the working folder, which may hold the documents.
                [sys.executable, "-P", "-c", CODE.format(root=root)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        return self._process


def _exchange(process: Any, request: list[bytes], answer: list[bytes]) -> None:
    """Send the parts of a request, and append the reply; nothing where the process ends."""
    try:
        for part in request:
            process.stdin.write(len(part).to_bytes(HEAD, "big") + part)
        process.stdin.flush()
        answer.append(_receive(process.stdout))
    except (OSError, EOFError, ValueError):
        return


def _receive(stream: IO[bytes]) -> bytes:
    head = stream.read(HEAD)
    if len(head) < HEAD:
        raise EOFError
    size = int.from_bytes(head, "big")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _document(reply: dict[str, Any]) -> Document:
    if "unreadable" in reply:
        raise UnreadableError(reply["unreadable"])
    if "lacks" in reply:
        raise UserError(reply["lacks"])
    sections = (
        Section(start, end, tuple(headings), page, metadata)
        for start, end, headings, page, metadata in reply["sections"]
    )
    return Document(reply["text"], tuple(sections))


def serve() -> None:
    """Read documents for another process, until it closes its end of the pipe."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that a library prints is a reply
    _limit_memory()
    while True:
        try:
            request = json.loads(_receive(source))
            data = _receive(source)
        except EOFError:
            return
        _set_alarm(request["seconds"] + 5)
        reply = json.dumps(_reply(request["suffix"], data)).encode()
        target.write(len(reply).to_bytes(HEAD, "big") + reply)
        target.flush()
        _set_alarm(0)


def _reply(suffix: str, data: bytes) -> dict[str, Any]:
    try:
        document = _readable(suffix, data)
    except UnreadableError as error:
        return {"unreadable": error.problem}
    except UserError as error:
        return {"lacks": error.problem}
    sections = [[s.start, s.end, s.headings, s.page, dict(s.metadata)] for s in document.sections]
    return {"text": document.text, "sections": sections}


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        return  # the time limit still holds


def _set_alarm(seconds: float) -> None:
    """End this process after so many seconds, should the other one be gone by then."""
    import signal

    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))


_CHILD = _ReaderProcess()
atexit.register(_CHILD.end)
