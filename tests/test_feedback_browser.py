"""The annotation page in a real Chromium: two people, by keyboard and by thumb."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from luthier.feedback.annotate.page_app import annotation_app
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Invite, ItemAnswer, make_item
from luthier.report.html import stylesheet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("needs a Chromium (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
pytestmark = pytest.mark.slow

MARKUP = "<b>bold</b><script>document.title = 'broken'</script>"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page_of(tmp_path, browser):
    """A function that opens the page of an invite; problems in the page fail the test."""
    store = FeedbackStore(tmp_path / "ledger.sqlite")
    store.add_items(
        [
            make_item("Where is it?", [ItemAnswer("", MARKUP, "hidden-model"), "It is lost."]),
            make_item([("system", "Be brief."), ("user", "Hello?")], ["Hi.", "Hello to you."]),
            make_item("A long one?", ["word " * 200_000, "short"]),
        ]
    )
    for kind in ("preference", "rating", "thumb", "edit"):
        for who in ("ada", "bo"):
            store.add_invite(Invite(f"{kind}-{who}", who, kind))
    config = uvicorn.Config(
        annotation_app(store, style=stylesheet()), port=0, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    problems, pages = [], []

    def opened(token, **options):
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("request", lambda r: problems.append(r.url) if "127.0.0.1" not in r.url else None)
        page.goto(f"http://127.0.0.1:{port}/a/{token}")
        page.wait_for_selector(".answer")
        return page

    yield store, opened
    for page in pages:
        page.close()
    server.should_exit = True
    thread.join()
    store.close()
    assert problems == []


def drawn(page, number):
    page.wait_for_selector(f"body[data-drawn='{number}']")


def test_two_people_annotate_by_keyboard_and_by_thumb(page_of):
    store, opened = page_of
    ada = opened("preference-ada")
    assert "hidden-model" not in ada.content()
    ada.keyboard.press("s")  # marks what is shown first
    marked = ada.eval_on_selector(".answer.unsafe input", "box => box.dataset.answer")
    ada.keyboard.press("1")
    drawn(ada, 2)
    (opinion,) = store.opinions()
    assert (opinion.who, opinion.grade, opinion.unsafe) == ("ada", "significantly", (marked,))
    assert opinion.shown[0] == opinion.answer == marked
    assert opinion.seconds >= 0
    ada.keyboard.press("u")
    drawn(ada, 3)
    assert ada.get_attribute("body", "data-item") == opinion.item
    assert store.opinions() == []
    ada.keyboard.press("6")
    drawn(ada, 4)
    ada.keyboard.press("k")
    ada.keyboard.press("2")
    drawn(ada, 5)
    ada.keyboard.press("r")  # edit what is shown second
    ada.fill("#edited", "A better answer.")
    ada.keyboard.press("Control+Enter")
    ada.wait_for_selector("text=The edit is kept")
    ada.keyboard.press("4")
    ada.wait_for_selector("#empty:not([hidden])")
    said = store.opinions(who="ada")
    assert sorted((o.kind, o.grade) for o in said) == [
        ("edit", None), ("preference", "better"), ("preference", "unsure"), ("skip", None),
    ]  # fmt: skip
    assert [o.text for o in said if o.kind == "edit"] == ["A better answer."]
    assert [o.text for o in said if o.kind == "skip"] == ["Neither answer can be used"]

    bo = opened("preference-bo", viewport={"width": 390, "height": 844}, has_touch=True)
    for number in range(3):
        wide = bo.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        bo.tap(".choices button:nth-child(3)")
        if number < 2:
            drawn(bo, number + 2)
    bo.wait_for_selector("#empty:not([hidden])")
    assert [o.grade for o in store.opinions(who="bo")] == ["slightly"] * 3
    orders = {o.item: o.shown for o in store.opinions(who="bo")}
    assert set(orders) == {item.id for item in store.items()}


def test_markup_is_shown_as_text_and_a_megabyte_scrolls(page_of):
    _, opened = page_of
    page = opened("preference-ada")
    seen = []
    for number in range(3):
        seen += page.eval_on_selector_all(".answer .text", "all => all.map(e => e.textContent)")
        assert page.eval_on_selector_all(".answer .text *", "all => all.length") == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("4")
        if number < 2:
            drawn(page, number + 2)
    assert MARKUP in seen
    assert max(map(len, seen)) == 1_000_000
    assert page.title() == "Which answer is better?"


def test_two_tabs_and_the_other_kinds(page_of):
    store, opened = page_of
    one, two = opened("preference-ada"), opened("preference-ada")
    one.keyboard.press("1")
    drawn(one, 2)
    two.keyboard.press("7")
    two.wait_for_selector("text=another tab")
    assert len(store.opinions()) == 1
    thumb = opened("thumb-bo")
    thumb.keyboard.press("c")
    thumb.keyboard.type("too short 1")
    thumb.keyboard.press("Escape")
    thumb.keyboard.press("2")
    drawn(thumb, 2)
    (given,) = store.opinions(who="bo")
    assert (given.kind, given.value, given.text) == ("thumb", 0.0, "too short 1")
    rating = opened("rating-bo")
    rating.keyboard.press("5")
    drawn(rating, 2)
    assert store.opinions(who="bo")[-1].value == 5.0


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.disabled || e.closest(":disabled")) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(back(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(e.textContent.slice(0, 20) + " " + ratio.toFixed(2));
  }
  return low; }"""
UNNAMED = """() => [...document.querySelectorAll("button, input, textarea, [tabindex], progress")]
  .filter((e) => !(e.textContent.trim() || e.ariaLabel || (e.labels && e.labels.length)))
  .map((e) => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["preference", "thumb"])
def test_it_can_be_read_and_every_control_has_a_name(page_of, scheme, kind):
    _, opened = page_of
    page = opened(f"{kind}-ada", color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(UNNAMED) == []
    assert page.get_attribute("html", "lang") == "en"
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    sizes = page.eval_on_selector_all(
        ".choices button, .tools button",
        "all => all.filter(e => e.offsetParent).map(e => e.getBoundingClientRect().height)",
    )
    assert min(sizes) >= 44
