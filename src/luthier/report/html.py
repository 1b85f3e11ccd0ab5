"""The HTML report: one file that opens offline, loads nothing from a network, and prints well."""

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
from luthier.redaction import without_secrets
from luthier.report import amounts
from luthier.report.how_to_use import how_to_use
from luthier.report.metric_view import MetricView, metric_view_of
from luthier.report.technique_view import (
    TechniqueView,
    advice_sentences,
    best_first,
    by_base,
    headline,
    in_groups,
    reference_views,
    refit_sentence,
    technique_views,
    tie_sentence,
)

if TYPE_CHECKING:
    import jinja2

GENERATOR = b'<meta name="generator" content="Luthier">'  # marks a report as ours
_TEMPLATES = Path(__file__).with_name("templates")


def write_html(comparison: Comparison, path: str | Path) -> Path:
    """Write the report to `path`, completely or not at all; StorageError where that fails."""
    return write_page(render_html(comparison), path)


def write_page(page: str, path: str | Path) -> Path:
    """Write a page of ours, completely or not at all; StorageError where that fails, or where
    another's file stands there."""
    target = Path(path)
    # Text from data files can hold half a surrogate pair, which UTF-8 cannot; it becomes "?".
    content = without_secrets(page).encode("utf-8", errors="replace")
    _check_replaceable(target)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp denies all others
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(
            f"The report cannot be written to {target}: {error.strerror or error}",
            next_step="Give another path with --out, or free some space on the disk.",
        ) from error
    return target


def _check_replaceable(target: Path) -> None:
    """StorageError where a file stands at `target` that is no report of ours."""
    if not target.is_file():
        return
    with target.open("rb") as file:
        start = file.read(4096)
    if GENERATOR not in start:
        raise StorageError(
            f"{target} is to be replaced by the report, and Luthier did not write it",
            next_step="Nothing was touched. Move it away, or give another path with --out.",
        )


def render_html(comparison: Comparison) -> str:
    """The report as one HTML document."""
    from markupsafe import Markup

    metric_view = metric_view_of(comparison)
    views = technique_views(comparison)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            comparison=comparison,
            metric_view=metric_view,
            views=views,
            style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
            script=Markup(script),
            script_hash=_hash(script),
            **_sections(comparison, views, metric_view),
        )
        .replace("\x00", "\ufffd")
    )


def stylesheet() -> str:
    """The report's style sheet, which other pages share."""
    return (_TEMPLATES / "report.css").read_text("utf-8")


def _sections(
    comparison: Comparison, views: list[TechniqueView], metric_view: MetricView
) -> dict[str, Any]:
    """What the template shows, section by section."""
    from markupsafe import Markup

    from luthier.report.sections import (
        confusion,
        cost_tables,
        differences,
        drawn,
        facts,
        fits,
        heard,
        plots,
        prompts,
        tool_traces,
    )

    measured, unfinished = in_groups(views)
    references, failed = in_groups(reference_views(comparison))
    data = differences.difference_data(measured)
    return {
        "headline": headline(comparison),
        "tie": tie_sentence(comparison),
        "refit": refit_sentence(comparison),
        "advised": advice_sentences(comparison),
        "how_to_use": how_to_use(comparison),
        "measured": measured,
        "groups": by_base(comparison, measured),
        "has_passes": any(view.result.epochs is not None for view in measured),
        "unfinished": [*unfinished, *failed],
        "references": references,
        "against": facts.against_references(comparison, metric_view),
        "ranked": best_first(views, metric_view),
        "families": plots.family_key(measured),
        "intervals": plots.interval_plot(comparison, views, metric_view),
        "paired": plots.paired_plot(comparison, views, metric_view),
        "cost_plots": plots.cost_plots(comparison, views, metric_view),
        "curves": plots.curve_plot(comparison, views),
        "matrices": _pick_first(confusion.matrices(measured, comparison.task.labels)),
        "difference_json": None if data is None else Markup(differences.script_json(data)),
        "difference_techniques": [] if data is None else data["techniques"],
        "differences_cut": data is not None and data["total"] > len(data["examples"]),
        "prompts": prompts.prompts(views),
        "fits": fits.fits(views, metric_view),
        "costs": cost_tables.cost_tables(comparison, views),
        "break_even": cost_tables.break_even(comparison),
        "prices": cost_tables.prices(comparison),
        "forgetting": cost_tables.forgetting(views),
        "drawn": drawn.drawn_pictures(comparison),
        "heard": heard.heard_table(comparison),
        "tool_traces": tool_traces.tool_traces(comparison),
        "data_facts": facts.data_facts(comparison),
        "leaks": facts.leak_sentences(comparison.task.leaks),
        "leak_samples": facts.leak_samples(comparison.task.leaks),
        "how_made": facts.how_made(comparison, metric_view),
        "machine": facts.machine(comparison),
        "bases": [(base.name, facts.base_facts(comparison, base)) for base in comparison.bases],
    }


def _pick_first(matrices: Sequence[Any]) -> list[Any]:
    return sorted(matrices, key=lambda matrix: matrix.view.mark != "pick")


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The templates of the report; all text is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (
        amounts.count, amounts.milliseconds, amounts.money, amounts.passes, amounts.probability,
        amounts.rate, amounts.scaled, amounts.seconds, amounts.size, amounts.total,
    ):  # fmt: skip
        environment.filters[write.__name__] = write
    environment.filters["family_marker"] = family_marker
    environment.filters["commands"] = commands
    return environment


def commands(text: str) -> Any:
    """A sentence in which text between backticks becomes code."""
    from markupsafe import Markup, escape

    # It is safe: the text is escaped before the tags are written.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def family_marker(shape: str, cls: str) -> Any:
    """A family's marker, small enough for a line of text."""
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
    """The hash by which the page's content security policy allows this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
