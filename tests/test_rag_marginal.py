"""RAG-Sequence and RAG-Token against sums done by hand, token by token, on tiny models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from luthier.engine.mixture import score_mixture
from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding, Knowledge
from luthier.models.answering import render_shown
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.models.rag.lookup import passage_probabilities, search_knowledge
from luthier.models.rag.passages import with_each_passage
from luthier.records import Capability, Example
from luthier.retrieval import Hit, Passage, SearchSettings
from tests import tiny
from tests.knowledge import knowledge, make_index

PROMPT = Prompt(format=PromptFormat("Question", "Answer"))
QUESTION = Example("q", "Who is the mayor of Dorma?", "")
LABELS = ("Quist", "Mira Tolan", "x")


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    index = make_index(tmp_path_factory.mktemp("marginal"))
    search = SearchSettings(k=3, mode="lexical")
    return knowledge(index, search=search, temperature=4.0)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: Any, slot: Knowledge) -> Model:
    adaptation = Adaptation(prompt=PROMPT, knowledge=slot)
    return Model(tiny.backend(request.param), adaptation)


def _by_hand(model: Model, text: str) -> list[list[float]]:
    """log p(y_i | x, z, y_<i) for each passage z and token i, each text alone, nothing cached."""
    ((copies, _),) = with_each_passage(model, [QUESTION])
    rows = []
    with model.backend.session(model.adaptation) as session, torch.inference_mode():  # type: ignore[attr-defined]
        for prompt in render_shown(model, PROMPT, copies):
            ids, start = session.encode_pair(prompt, prompt.answer_prefix + text)
            logits = session.module(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            rows.append([float(logits[i - 1, ids[i]]) for i in range(start, len(ids))])
    return rows


def _weights(model: Model) -> tuple[float, ...]:
    slot = model.adaptation.knowledge
    assert slot is not None
    return passage_probabilities(slot, search_knowledge(slot, [QUESTION.input])[0])


def test_sequence_sums_whole_answers(model: Model, slot: Knowledge) -> None:
    apart = model.adapt(
        knowledge=replace(slot, reading="sequence"), decoding=Decoding(labels=LABELS)
    )
    found = apart.answer([QUESTION])[0].label_logprobs or {}
    weights = _weights(model)
    assert len(weights) == 3
    for label in LABELS:
        rows = _by_hand(model, label)
        by_hand = sum(w * math.exp(sum(row)) for w, row in zip(weights, rows, strict=True))
        assert found[label] == pytest.approx(math.log(by_hand), abs=2e-3)


def test_token_sums_at_every_token(model: Model, slot: Knowledge) -> None:
    apart = model.adapt(knowledge=replace(slot, reading="token"), decoding=Decoding(labels=LABELS))
    found = apart.answer([QUESTION])[0].label_logprobs or {}
    weights = _weights(model)
    for label in LABELS:
        steps = zip(*_by_hand(model, label), strict=True)
        by_hand = sum(
            math.log(sum(w * math.exp(p) for w, p in zip(weights, step, strict=True)))
            for step in steps
        )
        assert found[label] == pytest.approx(by_hand, abs=2e-3)


def test_token_generation_is_greedy_under_the_mixture(model: Model, slot: Knowledge) -> None:
    """At every step the token taken is the best of the mixture computed without a cache."""
    decoding = Decoding(max_new_tokens=6, stop=())
    apart = model.adapt(knowledge=replace(slot, reading="token"), decoding=decoding)
    said = apart.answer([QUESTION])[0]
    weights = torch.tensor(_weights(model)).log()[:, None]
    ((copies, _),) = with_each_passage(model, [QUESTION])
    backend: Any = model.backend
    with backend.session(model.adaptation) as session, torch.inference_mode():
        rows = [session.encode(p) for p in render_shown(model, PROMPT, copies)]
        written: list[int] = []
        for _ in range(6):
            logs = torch.stack(
                [
                    session.module(input_ids=torch.tensor([row + written]))
                    .logits[0, -1]
                    .float()
                    .log_softmax(-1)
                    for row in rows
                ]
            )
            token = int(torch.logsumexp(logs + weights, 0).argmax())
            if token == session.tokenizer.eos_token_id:
                break
            written.append(token)
        by_hand = session.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert said.text == by_hand


def test_token_generation_ends_at_any_end_the_model_has(model: Model, slot: Knowledge) -> None:
    """Llama 3 and Gemma 3 name several."""
    apart = model.adapt(
        knowledge=replace(slot, reading="token"), decoding=Decoding(max_new_tokens=6, stop=())
    )
    assert apart.answer([QUESTION])[0].text
    module: Any = model.backend.module  # type: ignore[attr-defined]
    each = (module.config, module.generation_config)
    before = [config.eos_token_id for config in each]
    try:
        for config in each:
            config.eos_token_id = list(range(2, 320))
        assert apart.answer([QUESTION])[0].text == ""
    finally:
        for config, ends in zip(each, before, strict=True):
            config.eos_token_id = ends


def test_one_passage_is_the_same_in_every_reading(model: Model, slot: Knowledge) -> None:
    one = replace(slot, search=replace(slot.search, k=1))
    scores = []
    for reading in ("joined", "sequence", "token"):
        asked = model.adapt(
            knowledge=replace(one, reading=reading), decoding=Decoding(labels=LABELS)
        )
        scores.append(asked.answer([QUESTION])[0].label_logprobs or {})
    for other in scores[1:]:
        for label in LABELS:
            assert other[label] == pytest.approx(scores[0][label], abs=2e-3)


def test_sequence_text_is_the_best_hypothesis_under_all_passages(slot: Knowledge) -> None:
    """Out of the greedy answers of the passages, the one of the largest weighed probability."""
    model = Model(tiny.backend("llama"), Adaptation(prompt=PROMPT, knowledge=slot))
    decoding = Decoding(max_new_tokens=4, stop=())
    apart = model.adapt(knowledge=replace(slot, reading="sequence"), decoding=decoding)
    said = apart.answer([QUESTION])[0].text
    ((copies, _),) = with_each_passage(model, [QUESTION])
    bare = model.adapt(knowledge=None, decoding=decoding)
    hypotheses = dict.fromkeys(a.text for a in bare.answer(copies))
    weights = _weights(model)

    def probability(text: str) -> float:
        rows = _by_hand(model, text)
        return sum(w * math.exp(sum(row)) for w, row in zip(weights, rows, strict=True))

    assert said == max(hypotheses, key=probability)


def test_an_encoder_decoder_is_refused_token_by_token(slot: Knowledge) -> None:
    apart = Model(
        tiny.backend("t5"), Adaptation(prompt=PROMPT, knowledge=replace(slot, reading="token"))
    )
    with pytest.raises(CapabilityError, match="tiny-t5 cannot do"):
        apart.answer([QUESTION])
    sequence = apart.adapt(
        knowledge=replace(slot, reading="sequence"), decoding=Decoding(labels=LABELS)
    )
    assert sequence.answer([QUESTION])[0].parsed in LABELS


def test_a_server_without_log_probabilities_cannot_weigh(slot: Knowledge) -> None:
    backend = FakeBackend(capabilities=frozenset({Capability.TEXT}))
    apart = Model(backend, Adaptation(knowledge=replace(slot, reading="sequence")))
    with pytest.raises(CapabilityError, match="log-probabilities"):
        apart.answer([QUESTION])


def test_passage_probabilities_are_a_softmax_of_the_scores(slot: Knowledge) -> None:
    passage = Passage("a", "x", "d", 0, 1)
    hits = [Hit(passage, 3.0, 1), Hit(passage, 1.0, 2)]
    first, second = passage_probabilities(replace(slot, temperature=2.0), hits)
    assert first / second == pytest.approx(math.e)
    assert first + second == pytest.approx(1.0)


def test_nothing_found_is_read_without_a_passage(slot: Knowledge) -> None:
    model = Model(tiny.backend("llama"), Adaptation(prompt=PROMPT, knowledge=slot))
    ask = replace(QUESTION, input="zzz qqq")
    if search_knowledge(slot, [ask.input])[0]:
        pytest.skip("this search always finds something")
    apart = model.adapt(
        knowledge=replace(slot, reading="sequence"), decoding=Decoding(labels=LABELS)
    )
    bare = model.adapt(knowledge=None, decoding=Decoding(labels=LABELS))
    assert apart.answer([ask])[0].label_logprobs == pytest.approx(
        bare.answer([ask])[0].label_logprobs, abs=2e-3
    )


def test_soft_prompts_stand_in_every_row(slot: Knowledge) -> None:
    from luthier.models.adaptation import VirtualTokens

    backend = tiny.backend("llama")
    soft = VirtualTokens(torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0)))
    model = Model(backend, Adaptation(prompt=PROMPT, knowledge=slot, soft_prompt=soft))
    ((copies, _),) = with_each_passage(model, [QUESTION])
    prompts = render_shown(model, PROMPT, copies)
    with backend.session(model.adaptation) as session, torch.inference_mode():
        one = score_mixture(session, prompts[:1], (1.0,), (" Quist",))
    labelled = model.adapt(
        knowledge=replace(slot, search=replace(slot.search, k=1)),
        decoding=Decoding(labels=("Quist", "x")),
    )
    joined = labelled.answer([QUESTION])[0].label_logprobs or {}
    assert one.logprobs[0] == pytest.approx(joined["Quist"], abs=2e-3)
