"""Python's own documentation as documents: the language reference that `help()` shows
(`pydoc_data.topics`) and the docstrings of some modules of the standard library.

They are on every machine. The modules are parsed, not imported, so that nothing of them runs.
"""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

# Written in Python and documented in every Python since 3.11.
MODULES = (
    "argparse", "bisect", "calendar", "cmd", "codecs", "collections/__init__", "configparser",
    "contextlib", "copy", "csv", "datetime", "_pydatetime", "dataclasses", "difflib", "dis",
    "filecmp", "fileinput", "fnmatch", "fractions", "functools", "getpass", "glob", "graphlib",
    "gzip", "heapq", "hmac", "inspect", "ipaddress", "linecache", "numbers", "operator", "pathlib",
    "pathlib/__init__", "pprint", "queue", "random", "re/__init__", "reprlib", "sched", "secrets",
    "shelve", "shlex", "shutil", "smtplib", "socketserver", "statistics", "string",
    "string/__init__", "stringprep", "subprocess", "tempfile", "textwrap", "this", "threading",
    "timeit", "trace", "types", "uuid", "warnings", "weakref", "webbrowser", "zipfile",
    "zipfile/__init__",
)  # fmt: skip
FEWEST_CHARACTERS = 40


@lru_cache(maxsize=1)
def documents() -> dict[str, str]:
    """File names and their Markdown."""
    return {**_topics(), **_modules()}


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # a Python packaged without its help texts
        return {}
    found: Mapping[str, str] = topics
    return {
        f"topic-{re.sub(r'[^A-Za-z0-9-]+', '-', name)}.md": _markdown(text)
        for name, text in sorted(found.items())
    }


def _markdown(text: str) -> str:
    """The help texts with their underlined headings as Markdown headings."""
    lines = text.strip().splitlines()
    out: list[str] = []
    for line in lines:
        if out and re.fullmatch(r"[*=]{3,}|[-^]{3,}|~{3,}", line.strip()) and out[-1].strip():
            mark = {"*": "#", "=": "##", "-": "###"}.get(line.strip()[0], "####")
            out[-1] = f"{mark} {out[-1].strip()}"
        else:
            out.append(line)
    return "\n".join(out) + "\n"


def _modules() -> dict[str, str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    made = {}
    for source in MODULES:
        module = source.removesuffix("/__init__").lstrip("_").replace("pydatetime", "datetime")
        sections = list(_docstrings(library / f"{source}.py"))
        if sections:
            parts = [f"# {module}", *(_section(module, *s) for s in sections)]
            made[f"module-{module}.md"] = "\n\n".join(parts) + "\n"
    return made


def _section(module: str, name: str, text: str) -> str:
    return f"## {module}.{name}\n\n{text}" if name else text


def _docstrings(source: Path) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a module, "" for the module itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in strings
            tree = ast.parse(source.read_bytes())
    # A module that this Python lacks, or keeps as bytecode only.
    except (OSError, SyntaxError, ValueError):
        return
    yield from _of(tree, "")


def _of(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node) or ""
    if len(text) >= FEWEST_CHARACTERS:
        yield name, text
    if isinstance(node, ast.FunctionDef):
        return
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef):
            yield from _of(inner, f"{name}.{inner.name}".lstrip("."))
