"""The HTML report: one file that opens offline, asks nothing of any network, and prints."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.compare.comparison import Comparison
from luthier.errors import StorageError
from luthier.report import amounts
from luthier.report.how_to_use import how_to_use
from luthier.report.metric import MetricView, metric_view_of
from luthier.report.technique_view import (
    TechniqueView,
    best_first,
    headline,
    in_groups,
    technique_views,
    tie_sentence,
)

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).with_name("templates")


def write_html(comparison: Comparison, path: str | Path) -> Path:
    """Write the report to `path`, whole or not at all. StorageError where it cannot be written."""
    target = Path(path)
    # Text from data files can hold half a surrogate pair, which UTF-8 cannot; it becomes "?".
    content = render_html(comparison).encode("utf-8", errors="replace")
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp lets nobody else read
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(
            f"The report cannot be written to {target}: {error.strerror or error}",
            next_step="Give another path with --out, or make room on the disk.",
        ) from error
    return target


def render_html(comparison: Comparison) -> str:
    """The report as one HTML document."""
    from markupsafe import Markup

    metric_view = metric_view_of(comparison)
    lines = technique_views(comparison)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            comparison=comparison,
            metric_view=metric_view,
            lines=lines,
            style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
            script=Markup(script),
            script_hash=_hash(script),
            **_sections(comparison, lines, metric_view),
        )
        .replace("\x00", "\ufffd")
    )


def _sections(
    comparison: Comparison, lines: list[TechniqueView], metric_view: MetricView
) -> dict[str, Any]:
    """What the template shows, section by section."""
    from markupsafe import Markup

    from luthier.report.sections import confusion, costs, differences, facts, fits, plots, prompts

    measured, unfinished = in_groups(lines)
    data = differences.difference_data(measured)
    return {
        "headline": headline(comparison),
        "tie": tie_sentence(comparison),
        "use": how_to_use(comparison),
        "measured": measured,
        "unfinished": unfinished,
        "ranked": best_first(lines, metric_view),
        "families": plots.family_key(measured),
        "intervals": plots.interval_plot(comparison, lines, metric_view),
        "paired": plots.paired_plot(comparison, lines, metric_view),
        "cost_plots": plots.cost_plots(comparison, lines, metric_view),
        "curves": plots.curve_plot(comparison, lines),
        "matrices": _pick_first(confusion.matrices(measured, comparison.task.labels)),
        "difference_json": None if data is None else Markup(differences.script_json(data)),
        "difference_lines": [] if data is None else data["techniques"],
        "differences_cut": data is not None and data["total"] > len(data["examples"]),
        "prompts": prompts.prompts(lines),
        "fits": fits.fits(lines, metric_view),
        "costs": costs.cost_tables(comparison, lines),
        "break_even": costs.break_even(comparison),
        "prices": costs.prices(comparison),
        "forgetting": costs.forgetting(lines),
        "data_facts": facts.data_facts(comparison),
        "leaks": facts.leak_sentences(comparison.task.leaks),
        "leak_samples": facts.leak_samples(comparison.task.leaks),
        "how_made": facts.how_made(comparison, metric_view),
        "machine": facts.machine(comparison),
        "base_facts": facts.base_facts(comparison),
    }


def _pick_first(matrices: Sequence[Any]) -> list[Any]:
    return sorted(matrices, key=lambda matrix: matrix.line.mark != "pick")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (
        amounts.count, amounts.milliseconds, amounts.money, amounts.probability, amounts.rate,
        amounts.scaled, amounts.seconds, amounts.size,
    ):  # fmt: skip
        environment.filters[write.__name__] = write
    environment.filters["family_marker"] = _marker
    environment.filters["commands"] = _commands
    return environment


def _commands(text: str) -> Any:
    """A sentence with what stands between backticks as code."""
    from markupsafe import Markup, escape

    # Trusted: the text is escaped before the tags are written.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _marker(shape: str, cls: str) -> Any:
    """A family's marker, small enough to stand in a line of text."""
    from markupsafe import Markup

    from luthier.report.charts.svg import element, marker

    drawn = marker(shape, 7.0, 7.0, radius=4.6, cls="point")
    # Trusted: `element` escapes every attribute.
    return Markup(
        element(
            "svg",
            element("g", drawn, cls=cls),
            width=14,
            height=14,
            viewBox="0 0 14 14",
            cls="chart dot",
            aria_hidden="true",
        )
    )


def _hash(script: str) -> str:
    """What the page's own policy knows its script by; no other script can run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
