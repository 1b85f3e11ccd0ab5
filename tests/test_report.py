"""The report as a whole: complete, self-contained, safe against what stands in the data."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from luthier.compare.comparison import Comparison
from luthier.errors import StorageError
from luthier.records import Score
from luthier.report import render_html, terminal_table, write_html
from luthier.report.sections.confusion import matrices
from luthier.report.sections.differences import MOST_EXAMPLES, difference_data, script_json
from luthier.report.sections.prompts import visible
from luthier.report.technique_view import technique_views
from tests.report_example import (
    LABELS,
    NASTY_LABEL,
    NASTY_MESSAGE,
    bare_comparison,
    example_comparison,
)

VOID = {"meta", "input", "br", "hr", "img", "link", "line", "circle", "path", "polygon"}
LOADING = {
    "src", "href", "xlink:href", "srcset", "action", "formaction", "data", "poster", "background",
    "ping", "manifest",
}  # fmt: skip


class Page(HTMLParser):
    """Everything the tests want to know of a page; fails on tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, white space folded."""
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return example_comparison()


@pytest.fixture(scope="module")
def html(comparison: Comparison) -> str:
    return render_html(comparison)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_and_technique_is_there(page: Page, comparison: Comparison) -> None:
    ids = {attributes.get("id") for tag, attributes in page.tags if tag == "section"}
    assert ids == {
        "verdict", "table", "intervals", "cost", "curves", "confusion", "examples", "prompts",
        "fits", "costs", "forgetting", "data", "method",
    }  # fmt: skip
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert links == {f"#{i}" for i in ids if i != "verdict"}
    for view in technique_views(comparison):
        assert view.name in page.text
    assert page.text.index("Use lora.") < page.text.index("The table")
    for row in comparison.results:
        assert row.reason is None or row.reason in page.text
    for step in comparison.verdict.next_steps:
        assert step in page.text


def test_the_numbers_of_the_table_are_those_of_the_record(
    page: Page, comparison: Comparison
) -> None:
    for row in comparison.results:
        if row.score.value is not None:
            assert f"{row.score.value:.3f}" in page.text
            assert f"{row.score.low:.3f}–{row.score.high:.3f}" in page.text
    assert "14.2\u00a0M" in "".join(page.words)
    assert "2,972 requests" in page.text


def test_nothing_is_loaded_from_anywhere(html: str, page: Page) -> None:
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in LOADING or (value or "").startswith("#"), (name, value)
            assert not name.startswith("on")
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"link", "iframe", "object", "embed", "base", "img", "video", "audio", "use"}
    styles = " ".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    styles += " ".join(a.get("style") or "" for _, a in page.tags)
    assert "url(" not in styles
    assert "@import" not in styles
    program = page.scripts[-1]
    for word in ("fetch", "XMLHttpRequest", "import(", "innerHTML", "eval", "WebSocket", "http"):
        assert word not in program


def test_the_policy_allows_this_script_and_no_other(page: Page) -> None:
    metas = [a for tag, a in page.tags if tag == "meta"]
    policy = next(a["content"] or "" for a in metas if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_data_cannot_break_out(html: str, page: Page) -> None:
    assert len(page.scripts) == 2  # the data and the program, and no alert
    assert "<script>alert" not in html
    data = json.loads(page.scripts[0])
    assert any(text == NASTY_MESSAGE for _, text, _ in data["examples"])
    assert NASTY_LABEL in data["texts"]
    assert NASTY_LABEL in page.text
    assert "<refunds>" in page.text


@pytest.mark.parametrize("text", ["</script>", "<!--", "<script", "\u2028\u2029", "&lt;", '"\\'])
def test_script_json_is_inert_and_exact(text: str) -> None:
    written = script_json([text])
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == [text]


def test_it_is_small(html: str) -> None:
    assert len(html.encode()) < 500_000


def test_unmeasured_is_a_dash_everywhere() -> None:
    page = Page(render_html(bare_comparison()))
    cells = page.text.partition("zero-shot")[2].partition("prompt")[0].split()
    assert cells == ["0.500", *["–"] * 8]
    assert "None" not in page.text
    assert "nan" not in page.text.lower()
    ids = {a.get("id") for tag, a in page.tags if tag == "section"}
    assert "curves" not in ids  # nothing measured: no empty section
    assert "costs" not in ids
    assert "examples" not in ids


def test_renders_with_no_row_at_all() -> None:
    page = Page(render_html(replace(bare_comparison(), results=())))
    assert "No verdict: nothing finished." in page.text
    assert "No technique has a score." in page.text


def test_a_metric_that_is_better_when_lower(comparison: Comparison) -> None:
    rows = tuple(
        replace(r, score=Score("perplexity", 20.0 - k, 18.0 - k, 22.0 - k, False))
        for k, r in enumerate(comparison.results)
        if r.runs
    )
    task = replace(comparison.task, metric="perplexity", labels=(), chance=None)
    text = Page(render_html(replace(comparison, results=rows, task=task, curve=()))).text
    assert "Lower is better." in text
    assert "20.0" in text
    assert "What is taken for what" not in text  # no labels, no confusions
    data = difference_data(technique_views(replace(comparison, results=rows)))
    assert data is not None
    assert (data["sign"], data["binary"]) == (-1, False)
    assert data["techniques"][data["start"][1]]["name"] == "prompt-search"  # 18 beats 20 and 19


def test_a_row_that_failed_in_part_is_scored_and_explained(comparison: Comparison) -> None:
    rows = (replace(comparison.results[4], status="failed", reason="2 of 3 seeds finished"),)
    text = Page(render_html(replace(comparison, results=rows, tests=(), curve=()))).text
    assert "2 of 3 seeds finished" in text
    assert f"{rows[0].score.value:.3f}" in text


def test_whitespace_is_marked_and_left_as_it_is() -> None:
    text = " a  b\tc \n\u00a0d\r\n<e> &"
    marked = visible(text)
    bare = re.sub(r"<b [^>]*>|</b>", "", marked)
    assert bare.replace("&#13;", "\r").replace("&lt;", "<").replace("&gt;", ">").replace(
        "&amp;", "&"
    ) == text  # fmt: skip
    assert marked.count('class="sp"') == 4
    assert marked.count('class="nl"') == 2
    assert 'title="U+00A0"' in marked


def test_prompts_that_are_the_same_are_shown_once(html: str) -> None:
    assert html.count('<pre class="prompt">') == 2
    shown = html.partition('id="prompts"')[2].partition("</summary>")[0]
    assert [name for name in ("zero-shot", "soft-prompt", "lora", "full") if name in shown] == [
        "zero-shot", "soft-prompt", "lora", "full",
    ]  # fmt: skip


def test_confusions_add_up(comparison: Comparison) -> None:
    views = [view for view in technique_views(comparison) if view.measured]
    for matrix in matrices(views, LABELS):
        assert matrix.total == sum(row.total for row in matrix.rows) == 150
        right = sum(c.count for row in matrix.rows for c in row.cells if c.right)
        assert matrix.total - right == matrix.errors
        run = matrix.view.run
        assert run is not None
        assert right == sum(j.value for j in run.sample_scores)


def test_many_labels_are_cut_to_those_most_confused(comparison: Comparison) -> None:
    labels = (*LABELS, *(f"label-{k}" for k in range(69)))
    view = next(x for x in technique_views(comparison) if x.name == "zero-shot")
    assert view.run is not None
    sample_scores = view.run.sample_scores
    (matrix,) = matrices([view], labels)
    assert len(matrix.rows) == 16
    assert matrix.hidden_labels == 61
    assert matrix.errors == sum(j.prediction != j.target for j in sample_scores)


def test_difference_data_tells_the_same_as_the_record(comparison: Comparison) -> None:
    views = [view for view in technique_views(comparison) if view.measured]
    data = difference_data(views)
    assert data is not None
    first, second = (data["techniques"][k]["name"] for k in data["start"])
    assert (first, second) == ("lora", "prompt-search")  # the pick, and the best prompt
    for view, answers in zip(views, data["answers"], strict=True):
        assert view.run is not None
        for sample_scores, answer in zip(view.run.sample_scores, answers, strict=True):
            said = None if answer[0] is None else data["texts"][answer[0]]
            assert (said, answer[2], bool(answer[3])) == (
                sample_scores.prediction, sample_scores.value, sample_scores.parseable,
            )  # fmt: skip


def test_too_many_examples_are_cut_to_those_in_dispute(comparison: Comparison) -> None:
    def longer(row: Any) -> Any:
        run = row.runs[0]
        sample_scores = tuple(
            replace(j, example_id=f"{j.example_id}-{k}", input=j.input * 40)
            for k in range(10)
            for j in run.sample_scores
        )
        return replace(row, runs=(replace(run, sample_scores=sample_scores),), best_seed=run.seed)

    rows = tuple(longer(r) for r in comparison.results[:2])
    data = difference_data(technique_views(replace(comparison, results=rows)))
    assert data is not None
    assert data["total"] == 1500
    assert len(data["examples"]) == MOST_EXAMPLES
    disputed = sum(a[0] != b[0] for a, b in zip(*data["answers"], strict=True))
    pairs = zip(rows[0].runs[0].sample_scores, rows[1].runs[0].sample_scores, strict=True)
    assert disputed == min(MOST_EXAMPLES, sum(a.prediction != b.prediction for a, b in pairs))
    assert "more characters)" in data["examples"][0][1]


def test_written_whole_or_not_at_all(tmp_path: Path, comparison: Comparison) -> None:
    target = tmp_path / "new" / "report.html"
    assert write_html(comparison, target) == target
    assert target.read_text("utf-8").endswith("</html>")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        write_html(comparison, blocked / "report.html")


def test_text_that_is_no_unicode_is_survived(tmp_path: Path) -> None:
    odd = replace(bare_comparison(), id="half a pair \udc80, a null \x00")
    content = write_html(odd, tmp_path / "r.html").read_text("utf-8")
    assert "half a pair ?, a null \ufffd" in content


def printed(comparison: Comparison, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(terminal_table(comparison))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_the_terminal_table_fits(comparison: Comparison, width: int) -> None:
    text = printed(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    for row in comparison.results:
        if row.score.value is not None and width >= 80:
            assert f"{row.score.value:.3f} [{row.score.low:.3f}–{row.score.high:.3f}]" in text
    folded = " ".join(text.split())
    assert "Use lora." in folded
    assert "paid for its fit" in folded
    assert "prefix-tuning, skipped: prefix-tuning needs gradients" in folded


def test_wide_enough_terminals_show_every_column(comparison: Comparison) -> None:
    text = printed(comparison, 112)
    header = text.splitlines()[1]
    for heading in ("parsed", "fit", "params", "size", "total", "tokens", "p50", "1k req"):
        assert heading in header
    assert "no room" not in text
    narrow = printed(comparison, 80)
    assert "no room here for params, tokens, p50, 1k req" in " ".join(narrow.split())
    marked = [x.split()[1] for x in text.splitlines() if x.startswith(("►  ", "=  "))]
    assert marked == ["lora", "full", "few-shot"]


def test_the_terminal_shows_a_dash_for_the_unmeasured() -> None:
    row = next(x for x in printed(bare_comparison(), 112).splitlines() if "zero-shot" in x)
    assert row.split() == ["zero-shot", "0.500", *["–"] * 8]


def test_terminal_text_is_no_markup(comparison: Comparison) -> None:
    odd = replace(comparison.results[0], technique="[red]x[/red]", slug="x")
    assert "[red]x[/red]" in printed(replace(comparison, results=(odd,)), 100)


def test_the_page_works_in_a_browser(tmp_path: Path, comparison: Comparison) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    browser = browser or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: the page's script was not run")
    target = write_html(comparison, tmp_path / "report.html")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--disable-extensions", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--v=0", "--dump-dom", target.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not [x for x in done.stderr.splitlines() if "CONSOLE" in x]  # errors and refusals
    body = done.stdout.partition('id="difference-rows">')[2].partition("</tbody>")[0]
    assert body.count("<tr>") == 20
    assert "✓" in body
    assert "✗" in body
    assert "&lt;/script&gt;" in done.stdout
    lora, search = (comparison.result(name).best for name in ("lora", "prompt-search"))
    assert lora is not None
    assert search is not None
    gaps = [
        a.value - b.value for a, b in zip(lora.sample_scores, search.sample_scores, strict=True)
    ]
    said = f"A (lora, seed 0) alone is right on {gaps.count(1.0)}, B (prompt-search, seed 0) alone"
    assert said in done.stdout
    assert f"A right, B wrong ({gaps.count(1.0)})" in done.stdout


def test_backticks_become_code_and_nothing_else_becomes_markup():
    from luthier.report.html import commands

    assert commands("as `luthier ask` does") == "as <code>luthier ask</code> does"
    assert commands("`<b>` & <i>") == "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"
