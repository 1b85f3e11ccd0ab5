"""A hook of mkdocs: the pages of the site that are made from what stands elsewhere.

The start is the README, two pages are CONTRIBUTING.md and CHANGELOG.md, the page of the commands
comes from the command line itself, and every file of docs/decisions is in the navigation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
COPIES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision into the navigation, in the order of their numbers."""
    folder = Path(config.docs_dir) / "decisions"
    pages = [f"decisions/{path.name}" for path in sorted(folder.glob("*.md"))]
    for entry in config.nav or []:
        if "Decisions" in entry:
            entry["Decisions"] = pages
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that no file in docs/ holds."""
    for source, page in COPIES.items():
        text = site_links((ROOT / source).read_text("utf-8"))
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/commands.md", content=command_page()))
    return files


def site_links(text: str) -> str:
    """Links of a file at the root, as links between pages of the site."""
    text = text.replace("](docs/", "](")
    for source, page in COPIES.items():
        text = text.replace(f"]({source})", f"]({page})")
    return text


def command_page() -> str:
    """Every command with its arguments and options, as `luthier COMMAND --help` describes them."""
    from typer.main import get_command

    from luthier.cli.main import app

    group: Any = get_command(app)
    parts = ["# Commands", f"`luthier COMMAND`, or `python -m luthier COMMAND`. {group.help}"]
    for name, command in group.commands.items():
        parts += described(command, f"luthier {name}", heading="##")
    return "\n\n".join(parts) + "\n"


def described(command: Any, name: str, *, heading: str) -> list[str]:
    """A command with its arguments and options, and the commands below it."""
    parts = [f"{heading} {name}", plain(command.help)]
    rows = [row(parameter) for parameter in command.params if not parameter.hidden]
    if rows:
        parts.append("\n".join(["| | |", "|---|---|", *rows]))
    for below, inner in getattr(command, "commands", {}).items():
        parts += described(inner, f"{name} {below}", heading=f"{heading}#")
    return parts


def row(parameter: Any) -> str:
    """One argument or option as a row of a table."""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    text = plain(parameter.help or "")
    if parameter.required:
        text += " Required."
    elif parameter.show_default and parameter.default not in (None, False):
        text += f" Default: {parameter.default}."
    return f"| {names} | {text} |"


def plain(text: str) -> str:
    """Help text without the markup of the terminal, safe inside a table."""
    return re.sub(r"\\\[", "[", text or "").replace("|", "\\|").replace("<", "&lt;").strip()
