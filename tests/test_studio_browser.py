"""The studio in a real Chromium: a comparison that ends, a filter, the playground, the lab."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from luthier.compare.run_comparison import compare
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import make_item
from luthier.ledger.run_ledger import LEDGER_FILE
from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModels
from tests.serving_run import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs a Chromium (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one finished run of the bundled task, on the base without weights."""
    from luthier.compare.options import Options

    folder = tmp_path_factory.mktemp("runs")
    compare(
        "routing", "fake", techniques=["zero-shot", "few-shot"], seeds=1, budget="300ktok",
        out=folder / "queues", options=Options(limit=40),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def address(runs):
    yield from running(ModelService(ServedModels.of([str(runs / "queues")])), root=runs)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page; an error in it, or a request to elsewhere, fails the test."""
    opened, problems = browser.new_page(), []
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda e: problems.append(str(e)))
    opened.on("request", lambda r: problems.append(r.url) if "127.0.0.1" not in r.url else None)
    opened.set_default_timeout(300_000)
    yield opened
    opened.close()
    assert problems == []


def test_a_comparison_is_followed_stopped_and_goes_on_until_its_verdict(page, address, runs):
    command = [
        sys.executable, "-m", "luthier", "compare", "routing", "--model", "fake", "--techniques",
        "zero-shot, few-shot(sets=16, orders=16)", "--seeds", "3", "--budget", "40Mtok", "--limit",
        "40", "--embedder", "none", "--out", str(runs / "live"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not (runs / "live" / LEDGER_FILE).exists():
            assert process.poll() is None
        page.goto(f"{address}/")
        page.wait_for_selector("text=live")
        page.goto(f"{address}/runs/live")
        page.wait_for_selector(".verdict progress")
        page.wait_for_selector("tr:has-text('zero-shot') td.strong:not(:has-text('–'))")
        page.click("button:has-text('Stop')")
        page.wait_for_selector("button:has-text('Go on')")
        assert process.wait() == 130  # as after Ctrl-C
        assert "did not run" in page.locator(".verdict").inner_text()
        assert "luthier compare routing --model fake" in page.locator(".verdict").inner_text()
        page.click("button:has-text('Go on')")
        page.wait_for_selector(".verdict button:has-text('Stop')")
        # From here on the page is not loaded again: it changes by itself.
        page.evaluate("window.same = true")
        page.wait_for_selector(".verdict progress")
        page.wait_for_selector(".verdict:not(:has(button)) h2", timeout=900_000)
        assert page.evaluate("window.same") is True
        assert "did not run" not in page.locator(".verdict").inner_text()
        assert page.locator("table.results svg.dot").count() >= 2
    finally:
        page.request.post(f"{address}/runs/live/stop")
        process.kill()
        process.wait()


def test_examples_are_filtered_without_a_reload(page, address):
    page.goto(f"{address}/runs/queues/examples?show=all")
    whole = page.locator("table.examples tbody tr").count()
    page.evaluate("window.same = true")
    label = page.locator("select[name=label] option").nth(1).inner_text()
    page.select_option("select[name=label]", label)
    page.wait_for_url(f"**label={label}**")
    assert page.evaluate("window.same") is True
    shown = page.locator("td[data-label='right answer']").all_inner_texts()
    assert set(shown) == {label}
    assert len(shown) < whole
    assert f"label={label}" in page.locator("a:has-text('as CSV')").get_attribute("href")


def test_two_techniques_answer_side_by_side_and_a_thumb_is_kept(page, address, runs):
    page.goto(f"{address}/playground")
    page.check("input[value='queues/zero-shot']")
    page.check("input[value='queues/few-shot']")
    page.uncheck("input[value='queues']")
    page.fill("#text", "My parcel never came.")
    page.keyboard.press("Control+Enter")
    page.locator(".acts:not([hidden])").nth(1).wait_for()
    card = page.locator(".answer").first
    card.locator("[data-prompt]").click()
    card.locator("pre.prompt:has-text('My parcel never came.')").wait_for()
    card.locator("[data-thumb='1']").click()
    card.locator("[data-thumb='1'][aria-pressed='true']").wait_for()
    card.locator("[data-edit]").click()
    card.locator(".edit textarea").fill("somebody should call them")
    card.locator(".edit button").click()
    card.locator(".edit").wait_for(state="hidden")
    with FeedbackStore(runs / "queues" / LEDGER_FILE) as store:
        assert {o.kind for o in store.opinions()} == {"thumb", "edit"}


def test_answers_are_judged_on_the_annotation_page_within_the_studio(page, address, runs):
    with FeedbackStore(runs / "queues" / LEDGER_FILE) as store:
        store.add_items([make_item("My box is late.", ["It is on its way.", "No."])])
    page.goto(f"{address}/runs/queues")
    page.click("nav[aria-label=Run] >> text=Feedback")
    page.select_option("form.choose >> nth=0 >> select", "preference")
    page.fill("form.choose >> nth=0 >> input[name=who]", "ada")
    page.click("button:has-text('Annotate')")
    page.wait_for_selector("#work:not([hidden])")
    assert page.locator("nav[aria-label=Studio] a[aria-current=page]").inner_text() == "Runs"
    assert page.locator("nav[aria-label=Run] a[aria-current=page]").inner_text() == "Feedback"
    page.keyboard.press("2")
    page.wait_for_selector("text=Nothing is left for you")
    page.click("nav[aria-label=Run] >> text=Feedback")
    page.wait_for_selector("table.opinions tr:has-text('ada')")
    with FeedbackStore(runs / "queues" / LEDGER_FILE) as store:
        (vote,) = store.opinions(who="ada")
    assert (vote.kind, vote.grade) == ("preference", "better")


def test_a_prompt_is_edited_and_its_interval_is_read(page, address):
    page.goto(f"{address}/runs/queues/prompts?model=queues/zero-shot")
    page.fill("textarea[name=instruction]", "delivery delivery delivery")
    page.fill("input[name=note]", "what if it says one label only")
    page.fill("input[name=limit]", "30")
    page.click("button:has-text('Run on dev')")
    page.wait_for_selector("#difference")
    assert "same 30 dev examples" in page.locator("#difference").inner_text()
    assert page.locator("text=what if it says one label only").count() >= 1
    page.click("button:has-text('Promote')")
    page.wait_for_url("**/playground?model=queues/prompt-1")
    assert page.locator("input[value='queues/prompt-1']").is_checked()


@pytest.mark.parametrize(
    "path", ["/", "/runs/queues", "/runs/queues/examples", "/runs/queues/feedback", "/playground"]
)
def test_nothing_overflows_a_phone(page, address, path):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}{path}")
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
