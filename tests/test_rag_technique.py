"""Rag and what follows it: found, shown, composed, compared, skipped with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.compare.request import default_techniques
from luthier.errors import TaskError, TechniqueError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.rag.lookup import search_knowledge
from luthier.records import Budget, Example
from luthier.retrieval import Passage
from luthier.scoring.knowledge_scores import abstention, groundedness, knowledge_scores
from luthier.scoring.retrieval_metrics import ndcg, recall_at, reciprocal_rank, relevant
from luthier.task.bundled.pydoc import evidence, sections
from luthier.task.reading.documents import document_sources, documents_digest
from luthier.task.task import Task
from luthier.techniques.base import unmet_by_task
from luthier.techniques.rag.query_map import QueryMap, train_maps
from luthier.techniques.rag.raft import RAFT
from luthier.techniques.rag.rag import RAG
from luthier.techniques.spelling import parse_technique, spell
from luthier.testing import check_technique
from tests import tiny
from tests.knowledge import TOWNS, make_index, town_rows, write_documents

BUDGET = Budget(tokens=400_000)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("rag"))


def _task(**keys: Any) -> Task:
    settings: dict[str, Any] = {
        "name": "towns",
        "instruction": "Answer the question.",
        "kind": "question-answering",
        "leaks": "keep",
        "input_name": "Question",
        **keys,
    }
    return Task.from_examples(town_rows(), **settings)


def _reader(prompt: str) -> str:
    """Reads the mayor of the town that is asked for out of the passages, if they are there."""
    head, _, question = prompt.rpartition("Question: ")
    town = next((t for t in TOWNS if t in question), "")
    before = head.rpartition("Passage: ")[2] if "Passage: " in head else ""
    told = before.partition(f"The mayor of {town} is ")[2]
    return told.split(".")[0] if town and told else "nobody"


def _rag(index: Path, **settings: Any) -> RAG:
    return RAG(index=str(index), mode="lexical", reading="joined", **settings)


def test_rag_keeps_the_contract(index: Path) -> None:
    fitted = check_technique(
        _rag(index), model=Model(FakeBackend(_reader)), task=_task(), reopen=False
    )
    assert fitted.adaptation.knowledge is not None


def test_with_documents_the_questions_can_be_answered(index: Path) -> None:
    task, model = _task(), Model(FakeBackend(_reader))
    bare = luthier.evaluate(luthier.ZeroShot().fit(model, task.without_test(), budget=BUDGET), task)
    fitted = _rag(index).fit(model, task.without_test(), budget=BUDGET)
    assert bare.score.value == 0.0
    assert luthier.evaluate(fitted, task).score.value == 1.0
    settled = fitted.lineage.fit.settled if fitted.lineage else {}
    assert settled["k"] == 1, "one passage answers as well as three and costs less"
    assert fitted.lineage is not None
    assert fitted.lineage.fit.dev_score == 1.0


def test_searches_are_judged_without_asking_the_model(index: Path) -> None:
    model = Model(FakeBackend(_reader))
    fitted = _rag(index).fit(model, _task().without_test(), budget=Budget(tokens=0))
    assert fitted.lineage is not None
    entry = fitted.lineage.fit.history[0]
    assert entry.mrr_at_10 == 1.0
    assert fitted.lineage.fit.spent_tokens == 0


def test_passages_that_do_not_fit_the_context_are_not_tried(index: Path) -> None:
    backend = FakeBackend(_reader)
    facts = replace(backend.facts, context_length=50)
    model = Model(replace(backend, facts=facts))
    fitted = _rag(index, form="plain").fit(model, _task().without_test(), budget=BUDGET)
    assert fitted.lineage is not None
    tried = {e.candidate for e in fitted.lineage.fit.history if e.part}
    assert tried == {"1 passage, lexical, plain"}


@pytest.mark.parametrize("text", ["rag -> few-shot", "rag -> zero-shot", "few-shot -> rag"])
def test_recipes_keep_both_slots(index: Path, text: str) -> None:
    text = text.replace("rag", f"rag(index={str(index)!r}, mode=lexical, reading=joined)")
    recipe = parse_technique(text)
    assert spell(recipe) == recipe.name
    task = _task()
    fitted = recipe.fit(Model(FakeBackend(_reader)), task.without_test(), budget=BUDGET)
    assert {"prompt", "knowledge"} <= set(fitted.adaptation.filled)
    assert luthier.evaluate(fitted, task).score.value == 1.0


@pytest.mark.parametrize("text", ["rag -> lora(rank=2)", "rag -> soft-prompt(tokens=2)", "raft"])
def test_training_reads_the_passages(index: Path, text: str) -> None:
    where = f"index={str(index)!r}"
    text = text.replace("rag ", f"rag({where}, k=1, mode=lexical, form=plain, reading=joined) ")
    technique = parse_technique(text.replace("raft", f"raft({where}, k=2, rank=2)"))
    model = tiny.model("llama")
    task = _task(max_new_tokens=4)
    fitted = technique.fit(model, task.without_test(), budget=Budget(tokens=40_000), seed=0)
    assert "knowledge" in fitted.adaptation.filled
    assert {"adapter", "soft_prompt"} & set(fitted.adaptation.filled)
    assert len(fitted.answer(task.test[:2])) == 2


def test_raft_hides_the_answer_from_its_share_of_questions(index: Path) -> None:
    model = Model(FakeBackend(_reader))
    task = _task()
    started = _rag(index, k=2).fit(model, task.without_test(), budget=Budget(tokens=0))
    for share, expected in ((1.0, len(task.train)), (0.0, 0)):
        lessons = RAFT(k=2, oracle_share=share)._training_examples(started, task.train, seed=0)
        told = [f"is {e.target}." in (e.context or "") for e in lessons]
        assert sum(told) == expected
        assert all(len((e.context or "").splitlines()) == 2 for e in lessons)
    some = [
        f"is {e.target}." in (e.context or "")
        for e in RAFT(k=2, oracle_share=0.5)._training_examples(started, task.train, seed=1)
    ]
    assert 0 < sum(some) < len(some)


def test_bad_settings_are_told_before_anything_opens() -> None:
    for wrong in (
        lambda: RAG(mode="fuzzy"),  # type: ignore[arg-type]
        lambda: RAG(k=0),
        lambda: RAG(form="rhymed"),  # type: ignore[arg-type]
        lambda: RAFT(oracle_share=2.0),
        lambda: RAFT(k=0),
    ):
        with pytest.raises(TechniqueError):
            wrong()


def test_a_task_without_documents_is_told_so() -> None:
    task = _task()
    reason = unmet_by_task(RAG(), task)
    assert reason is not None
    assert "names no documents" in reason
    assert unmet_by_task(parse_technique("lora -> rag"), task) is not None
    assert unmet_by_task(RAG(index="somewhere"), task) is None
    with pytest.raises(TechniqueError, match="names no documents"):
        RAG().fit(Model(FakeBackend()), task.without_test(), budget=BUDGET)


def test_compare_skips_rag_with_the_reason_and_adds_it_where_there_are_documents(
    tmp_path: Path,
) -> None:
    task = _task()
    found = luthier.compare(
        task,
        Model(FakeBackend(_reader)),
        techniques="zero-shot,rag",
        budget="100ktok",
        seeds=1,
        out=tmp_path / "run",
    )
    assert found.result("rag").status == "skipped"
    assert "names no documents" in (found.result("rag").reason or "")
    assert "rag" not in default_techniques(task)
    docs = write_documents(tmp_path / "docs")
    assert "rag" in default_techniques(_task(knowledge=[str(docs)]))


def test_a_compared_row_reports_its_search(index: Path, tmp_path: Path) -> None:
    named = f"rag(index={str(index)!r}, mode=lexical, reading=joined)"
    found = luthier.compare(
        _task(),
        Model(FakeBackend(_reader)),
        techniques=["zero-shot", named],
        budget="400ktok",
        seeds=1,
        out=tmp_path / "run",
    )
    row = found.results[1]
    assert row.status == "finished", row.reason
    assert row.family == "retrieval"
    measured = {s.metric: s.value for s in row.runs[0].secondary}
    assert measured["recall@5"] == 1.0
    assert measured["groundedness"] == 1.0
    assert found.verdict.best == row.technique
    again = luthier.load(row.path or "")
    assert again.adaptation.knowledge is not None
    assert "knowledge" in str(again.adaptation.knowledge.index)


def test_a_run_is_known_by_what_its_index_holds(tmp_path: Path) -> None:
    from luthier.compare.running.run_keys import technique_identity
    from luthier.errors import UserError
    from luthier.retrieval import IndexSettings, build_index

    index = make_index(tmp_path)
    named = [_rag(index), parse_technique(f"rag(index={str(index)!r}) -> few-shot")]
    before = [technique_identity(t) for t in named]
    assert [technique_identity(t) for t in named] == before
    (tmp_path / "docs" / "Dorma.txt").write_text("The mayor of Dorma is Anselm.", "utf-8")
    build_index([tmp_path / "docs"], index, settings=IndexSettings(embedder="none"))
    for technique, known in zip(named, before, strict=True):
        assert technique_identity(technique) != known
    with pytest.raises(UserError):
        technique_identity(RAG(index=str(tmp_path / "none")))
    assert "content" not in technique_identity(RAG())


def test_a_document_that_cannot_be_read_is_told_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    docs = write_documents(tmp_path / "docs")
    (docs / "torn.pdf").write_text("%PDF-1.4 torn", "utf-8")
    task = _task(knowledge=[str(docs)])
    for _ in range(2):  # the second time the index is there already
        found = luthier.compare(
            task, Model(FakeBackend(_reader)), techniques="rag", budget="2Mtok", seeds=1,
            out=tmp_path / "run",
        )  # fmt: skip
        unread = found.results[0].runs[0].fit.unread_documents
        assert any("torn.pdf" in document for document in unread)
        step = next(s for s in found.verdict.next_steps if "torn.pdf" in s)
        assert step.startswith("1 document could not be read")
        shutil.rmtree(tmp_path / "run")


def test_documents_are_named_by_content(tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "a")
    other = write_documents(tmp_path / "b")
    task, same = _task(knowledge=[str(docs)]), _task(knowledge=[str(other)])
    assert task.fingerprint == same.fingerprint, "wherever they lie"
    (other / "Avel.txt").write_text("Nobody rules Avel.", "utf-8")
    assert documents_digest([str(docs)]) != documents_digest([str(other)])
    assert _task().fingerprint != task.fingerprint
    with pytest.raises(TaskError, match="names no file"):
        _task(knowledge=[str(tmp_path / "none" / "*.md")])


def test_globs_take_a_whole_folder_or_some_files(tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    assert document_sources([f"{docs}/**"]) == (str(docs),)
    assert document_sources([str(docs)]) == (str(docs),)
    some = document_sources([f"{docs}/**/[AB]*.txt"])
    assert [Path(p).name for p in some] == ["Avel.txt", "Borun.txt"]
    with pytest.raises(TaskError, match="bundled"):
        _task(knowledge=["bundled:cookery"])


def test_documents_come_from_a_function_too(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(
        "def passages():\n    yield {'name': '../x y', 'text': 'The mayor of Zed is Ona.'}\n"
        "def wrong():\n    yield 'text'\n",
        "utf-8",
    )
    (folder,) = document_sources([f"{tmp_path}/made.py:passages"])
    (found,) = Path(folder).iterdir()
    assert found.name == "x-y.txt", "a name is no path"
    assert Path(folder).name == "passages"
    assert found.read_text("utf-8") == "The mayor of Zed is Ona."
    with pytest.raises(TaskError, match="name, text"):
        document_sources([f"{tmp_path}/made.py:wrong"])


def test_a_task_file_names_its_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `knowledge: docs/**` to an answer, the index made on the way and kept for the next."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    write_documents(tmp_path / "docs")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(r) for r in town_rows()), "utf-8")
    (tmp_path / "towns.yaml").write_text(
        "name: towns\ninstruction: Answer.\ndata: rows.jsonl\ninput: input\ntarget: target\n"
        "input_name: Question\nkind: question-answering\nleaks: keep\nevidence: evidence\n"
        "knowledge: docs/**\n",
        "utf-8",
    )
    task = Task.load(tmp_path / "towns.yaml")
    rag = RAG(mode="lexical", k=1, chunk_characters=500)
    model = Model(FakeBackend(_reader))
    fitted = rag.fit(model, task.without_test(), budget=BUDGET)
    assert luthier.evaluate(fitted, task).score.value == 1.0
    made = sorted((tmp_path / "cache" / "indexes").iterdir())
    again = rag.fit(model, task.without_test(), budget=BUDGET)
    assert sorted((tmp_path / "cache" / "indexes").iterdir()) == made
    slots = fitted.adaptation.knowledge, again.adaptation.knowledge
    assert slots[0] is not None
    assert slots[1] is not None
    assert slots[0].fingerprint == slots[1].fingerprint


def test_evidence_is_never_shown(index: Path) -> None:
    from luthier.models.answering import render_for

    task = _task()
    assert task.train[0].evidence
    fitted = luthier.ZeroShot().fit(Model(FakeBackend(_reader)), task.without_test(), budget=BUDGET)
    assert all(
        e.evidence not in r.text
        for e, r in zip(task.test, render_for(fitted, task.test), strict=True)
    )


def test_metrics_of_a_ranking() -> None:
    assert recall_at([False, True], 1) == 0.0
    assert recall_at([False, True], 2) == 1.0
    assert reciprocal_rank([False, False, True]) == pytest.approx(1 / 3)
    assert reciprocal_rank([]) == 0.0
    assert ndcg([True, False]) == 1.0
    assert ndcg([False, True]) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg([False]) == 0.0


def test_a_passage_is_relevant_as_part_of_the_evidence_that_still_answers() -> None:
    whole = "The bridge was opened in 1894 by the queen. It has since been painted green twice."
    asked = Example("q", "When?", "1894", evidence=whole)

    def made(text: str) -> Passage:
        return Passage("p", text, "d", 0, len(text))

    assert relevant(made("Before. " + whole), asked)
    assert relevant(made("The bridge was opened in 1894 by the queen."), asked)
    assert not relevant(made("It has since been painted green twice."), asked), "no answer"
    assert not relevant(made("In 1894 another thing happened."), asked), "another text"
    assert relevant(made("In 1894 another thing happened."), replace(asked, evidence=None))


def test_groundedness_counts_words_told_by_the_passages(index: Path) -> None:
    task = _task()
    fitted = _rag(index, k=1, form="plain").fit(
        Model(FakeBackend(lambda _: "mayor unheardof")), task.without_test(), budget=BUDGET
    )
    sample_scores = luthier.evaluate(fitted, task).sample_scores
    assert groundedness(fitted, sample_scores).value == 0.5
    names = [s.metric for s in knowledge_scores(fitted, task.test, sample_scores)]
    assert names == [
        "recall@1",
        "recall@5",
        "recall@10",
        "mrr@10",
        "ndcg@10",
        "groundedness",
        "abstention",
    ]


def test_the_bundled_questions_have_their_answers_in_the_documents() -> None:
    task = Task.load("pydoc")
    asked = (*task.train, *task.dev, *task.test)
    assert len(asked) >= 150
    assert task.knowledge == ("bundled:pydoc",)
    for e in asked:
        assert e.evidence
        assert e.target.casefold() in " ".join(e.evidence.split()).casefold(), e.input
        assert e.target.casefold() not in e.input.casefold(), e.input


def test_evidence_is_the_section_that_fits_the_question() -> None:
    text = (
        "# M\n\nIntro with beta.\n\n## M.beta\n\nReturns the second letter beta.\n\n## M.x\n\nNo."
    )
    assert list(sections(text))[1].startswith("## M.beta")
    assert (evidence(text, "Which returns the second letter?", "beta") or "").startswith(
        "## M.beta"
    )
    assert evidence(text, "?", "gamma") is None


def test_abstention_is_measured_with_the_answers_taken_away(index: Path) -> None:
    task = _task()

    def fitted(reply: Any) -> Model:
        plain = _rag(index, k=1, form="plain")
        return plain.fit(Model(FakeBackend(reply)), task.without_test(), budget=Budget(tokens=0))

    assert abstention(fitted(_reader), task.test).value == 1.0, "nobody knows without a passage"
    assert abstention(fitted(lambda _: "not in the documents"), task.test).value == 1.0
    river = fitted(lambda _: "river")
    assert abstention(river, task.test).value == 1.0, "it stands there, of another town"
    slot = river.adaptation.knowledge
    assert slot is not None
    whatever = river.adapt(knowledge=replace(slot, least_relevance=0.0))
    assert abstention(whatever, task.test).value == 0.0, "made up of what is there"


@pytest.mark.parametrize("text", ["rag -> query-map", "rag -> raft", "query-map"])
def test_a_recipe_lacks_what_its_first_look_up_lacks(text: str) -> None:
    assert unmet_by_task(parse_technique(text), _task()) is not None
    with_index = parse_technique(text.replace("rag ", "rag(index='there') "))
    assert (unmet_by_task(with_index, _task()) is None) == text.startswith("rag ")


def test_a_query_map_learns_which_passage_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Questions and answers in other words: the plain embedding ranks the wrong passage first."""
    import numpy as np

    from luthier.models.rag import question_map

    def embed(texts: Any) -> Any:
        """Questions point along one axis of a town, its passage along the next town's."""
        out = np.zeros((len(texts), 2 * len(TOWNS)), np.float32)
        for row, text in enumerate(texts):
            for place, town in enumerate(TOWNS):
                if town in text:
                    asked = "?" in text or text.startswith("Name")
                    out[row, place if asked else (place + 1) % len(TOWNS)] = 1.0
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)

    monkeypatch.setattr(question_map.QuestionEmbedder, "of", classmethod(lambda cls, _: cls(embed)))
    index = make_index(tmp_path)
    rows = [{**r, "input": r["input"].replace("mayor", "head")} for r in town_rows()]
    task = Task.from_examples(
        {"train": rows, "dev": [{**r, "input": f"So: {r['input']}"} for r in rows], "test": rows},
        name="towns", instruction="Answer.", kind="question-answering", leaks="keep",
    )  # fmt: skip
    started = _rag(index, k=1).fit(
        Model(FakeBackend(_reader)), task.without_test(), budget=Budget(tokens=0)
    )
    fitted = QueryMap(negatives=2).fit(started, task.without_test(), budget=BUDGET)
    assert fitted.lineage is not None
    settled = fitted.lineage.fit.settled
    assert settled["mrr@10"] >= settled["mrr@10 before"]
    slot = started.adaptation.knowledge
    assert slot is not None
    pairs = QueryMap(negatives=2)._pairs(slot, task.train)
    made = dict(train_maps(slot, pairs, rate=1e-2, seed=0))
    questions, positives = embed([q for q, _ in pairs]), embed([p[0].text for _, p in pairs])
    negatives = embed([p[1].text for _, p in pairs])

    def margin(change: Any) -> float:
        return float(((questions @ change) * (positives - negatives)).sum(1).mean())

    assert margin(made[200].numpy()) > margin(np.eye(questions.shape[1])) + 0.5
    saved = fitted.adapt(knowledge=replace(slot, query_map=made[200])).save(tmp_path / "saved")
    again = luthier.load(saved).adaptation.knowledge
    assert again is not None
    assert again.query_map is not None
    assert again.identity == replace(slot, query_map=made[200]).identity


def test_hits_are_remembered_not_looked_up_again(index: Path, monkeypatch: Any) -> None:
    fitted = _rag(index, k=1).fit(
        Model(FakeBackend(_reader)), _task().without_test(), budget=Budget(tokens=0)
    )
    slot = fitted.adaptation.knowledge
    assert slot is not None
    first = search_knowledge(slot, ["Who is the mayor of Garth?"])
    from luthier.retrieval import Index

    monkeypatch.setattr(Index, "search", lambda *_: pytest.fail("searched again"))
    assert search_knowledge(slot, ["Who is the mayor of Garth?"]) == first


def test_a_folder_of_documents_is_no_index_and_an_index_is_one(tmp_path: Path) -> None:
    from luthier.task.reading.documents import index_among

    index = make_index(tmp_path)
    assert index_among([str(tmp_path / "docs")]) is None
    assert index_among([str(index)]) == str(index)
    assert index_among([str(index), str(tmp_path / "docs")]) is None
    before = documents_digest([str(index)])
    (index / "index.sqlite-note").write_text("beside it", "utf-8")
    assert documents_digest([str(index)]) == before, "what it holds, not its files"
