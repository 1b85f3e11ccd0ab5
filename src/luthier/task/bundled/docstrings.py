"""The task docstrings: which module does this docstring belong to?

Its rows are made at load time from the standard library of this Python. The sources are parsed, not
imported, so that nothing of them runs. The names of the modules and of what is documented are
hidden in the text, so that it must be understood and not merely searched.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# Large, in every Python since 3.11, and written in Python. The decimal module's Python twin carries
# its docstrings.
SOURCES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "importlib": "importlib",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "unittest": "unittest",
    "xml": "xml",
}
MOST_WORDS = 60
FEWEST_WORDS = 6
MOST_ROWS_PER_MODULE = 130
HIDDEN = "___"
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@lru_cache(maxsize=1)
def docstring_rows() -> tuple[Mapping[str, Any], ...]:
    """Rows {docstring, module}, at most 130 a module, chosen and ordered by content."""
    rows = []
    library = Path(sysconfig.get_paths()["stdlib"])
    for module, source in SOURCES.items():
        texts = sorted(
            set(_module_texts(library / source)),
            key=lambda text: hashlib.sha256(text.encode()).hexdigest(),
        )
        for text in texts[:MOST_ROWS_PER_MODULE]:
            rows.append({"docstring": text, "module": module})
    return tuple(rows)


def _module_texts(source: Path) -> Iterator[str]:
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    for file in files:
        if "test" in file.parts or "tests" in file.parts:  # some Pythons ship these, others do not
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in strings
                tree = ast.parse(file.read_bytes())
        # A module this Python was built without, or one kept as bytecode only.
        except (OSError, SyntaxError, ValueError):
            continue
        for node in _documented(tree):
            text = shorten(ast.get_docstring(node) or "", own_name=node.name)
            if len(text.split()) >= FEWEST_WORDS:
                yield text


def _documented(tree: ast.Module) -> Iterator[Documented]:
    """Functions, classes and methods. Only statements are visited, because ast.walk is slow."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Documented):
            yield node
        for name in ("body", "orelse", "finalbody"):
            waiting.extend(getattr(node, name, ()))


@lru_cache(maxsize=4096)
def _revealing_names(own_name: str) -> re.Pattern[str]:
    names = [*SOURCES, *(s.removesuffix(".py") for s in SOURCES.values()), own_name]
    return re.compile(
        rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, names))})(?![A-Za-z0-9])", re.IGNORECASE
    )


def shorten(docstring: str, *, own_name: str) -> str:
    """The first paragraphs up to 60 words, before any doctest, with revealing names hidden."""
    words: list[str] = []
    for paragraph in re.split(r"\n\s*\n", docstring.split(">>>")[0]):
        more = _revealing_names(own_name).sub(HIDDEN, paragraph).split()
        if words and len(words) + len(more) > MOST_WORDS:
            break
        words += more
    text = " ".join(words[:MOST_WORDS])
    if len(words) > MOST_WORDS:  # a long first paragraph: up to its last whole sentence
        text = text[: text.rfind(". ") + 1] or text
    return text
