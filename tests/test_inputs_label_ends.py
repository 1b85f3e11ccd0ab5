"""Labels that begin another one: their ends are scored and trained, by every backend alike."""

from __future__ import annotations

import math

import pytest
import torch

from luthier.engine import score_continuations
from luthier.engine.engine_choice import chosen_engine
from luthier.models.adaptation import Adaptation, Decoding, VirtualTokens
from luthier.models.alternatives import LEAST_SHARE, nearest_longer, told_apart
from luthier.models.backend import ScoreRequest
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat, Rendered
from luthier.records import Example
from luthier.training.rows import rows_for
from tests import tiny

pytestmark = pytest.mark.inputs
PROMPTS = ("Input: my card\nLabel:", "Input: where is the parcel, please\nLabel:")
# Each list has a label that begins another one by its tokens.
VARIANTS = (
    (" refund", " refund refused"),
    (" a", " a b", " a b c", " delivery"),
    (" yes", " yes, but", " yes, and", " no"),
    (" C", " C ++", " C #"),
    (" 1", " 1 0", " 1 0 0", " 2"),
    (" card", " card lost", " card lost abroad", " card stolen"),
    (" x", " y"),  # none does
)


def texts(labels):
    return [tuple(label.split()) for label in labels]


@pytest.mark.parametrize(
    ("labels", "longer"),
    [
        (VARIANTS[0], [(1,), ()]),
        (VARIANTS[1], [(1,), (2,), (), ()]),
        ((" a", " a b c", " a b d"), [(1, 2), (), ()]),
        (VARIANTS[5], [(1, 3), (2,), (), ()]),
        (VARIANTS[6], [(), ()]),
        ((" refund", " refunded"), [(), ()]),  # a word that begins another, and no token does
    ],
)
def test_the_nearest_longer_labels_are_found(labels, longer):
    assert nearest_longer(texts(labels)) == longer


def test_what_goes_on_as_the_longer_label_is_taken_off_the_shorter_one():
    labels = texts(VARIANTS[1])
    values = [math.log(p) for p in (0.8, 0.5, 0.1, 0.15)]
    apart, greedy = told_apart(values, [True, True, False, False], labels)
    assert [math.exp(x) for x in apart] == pytest.approx([0.3, 0.4, 0.1, 0.15])
    assert greedy == (False, True, False, False)


def test_rounding_never_takes_more_than_there_is():
    apart, _ = told_apart([-0.5, -0.4999999], [True, True], texts(VARIANTS[0]))
    assert apart[0] == pytest.approx(-0.5 + math.log(LEAST_SHARE))


def test_scores_without_such_labels_stay_as_they_are():
    values, greedy = (-1.25, -3.5), (True, False)
    assert told_apart(values, greedy, texts(VARIANTS[6])) == (values, greedy)


@pytest.fixture(scope="module", params=["llama", "opt", "mistral"])
def backend(request):
    return tiny.backend(request.param)


def soft(votes: int) -> Adaptation:
    tensor = torch.randn(votes, 4, 32, generator=torch.manual_seed(1))
    return Adaptation(soft_prompt=VirtualTokens(tensor, "before"))


@pytest.mark.parametrize("labels", VARIANTS)
@pytest.mark.parametrize(
    "adaptation", [Adaptation(), soft(1), soft(3)], ids=["bare", "soft", "votes"]
)
def test_trees_and_the_plain_way_end_labels_alike(backend, labels, adaptation, monkeypatch):
    requests = [ScoreRequest(Rendered(text=p), labels) for p in PROMPTS]
    trees = backend.score(requests, adaptation)
    monkeypatch.setenv("LUTHIER_ENGINE", "plain")
    assert chosen_engine() == "plain"
    plain = backend.score(requests, adaptation)
    alone = [
        [backend.score([ScoreRequest(r.prompt, (c,))], adaptation)[0].logprobs[0] for c in labels]
        for r in requests
    ]
    for ours, theirs, each in zip(trees, plain, alone, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, rel=1e-4, abs=1e-3)
        with backend.session(adaptation) as session:
            pairs = session.encode_pairs(requests[0].prompt, labels)
        ids = [tuple(row[start:]) for row, start in pairs]
        expected, _ = told_apart(each, [False] * len(each), ids)
        assert ours.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-3)
        assert sum(math.exp(x) for x in ours.logprobs) <= 1 + 1e-5


@pytest.mark.parametrize("labels", VARIANTS[:2])
def test_a_mixture_of_one_prompt_ends_labels_alike(labels):
    backend = tiny.backend("llama")
    prompt = Rendered(text=PROMPTS[0])
    single = backend.score([ScoreRequest(prompt, labels)], Adaptation())[0]
    mixed = backend.score_mixture([prompt], [1.0], labels, Adaptation())
    assert mixed.logprobs == pytest.approx(single.logprobs, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("labels", VARIANTS)
def test_the_fake_backend_tells_them_apart(labels):
    shown = "".join(f"Input: {label}\nLabel: {label.strip()}\n\n" for label in labels)
    for label in labels:
        request = ScoreRequest(Rendered(text=f"{shown}Input: {label}\nLabel:"), labels)
        scored = FakeBackend().score([request], Adaptation())[0].logprobs
        assert sum(map(math.exp, scored)) == pytest.approx(1.0)


def rows(labels, *, chat=False):
    backend = tiny.backend("llama")
    prompt = Prompt(labels=labels, format=PromptFormat(style="chat" if chat else "plain"))
    adaptation = Adaptation(prompt=prompt, decoding=Decoding(labels=labels))
    model = Model(backend, adaptation)
    examples = [Example(str(k), f"text {k}", label) for k, label in enumerate(labels)]
    with backend.session(adaptation) as session:
        found = rows_for(model, session, examples)
        return session, [session.tokenizer.decode(row.answer) for row in found], found


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_rows_end_the_labels_that_begin_another(variant):
    labels = tuple(label.strip() for label in variant)
    _, answers, _ = rows(labels)
    begins = [any(other != a and other.startswith(a) for other in labels) for a in labels]
    assert [answer.endswith("\n") for answer in answers] == begins
    assert [answer.strip() for answer in answers] == list(labels)


def test_training_rows_of_a_chat_end_in_the_end_token():
    session, _, found = rows(("refund", "refund refused"), chat=True)
    ends = [row.answer[-1] == session.tokenizer.eos_token_id for row in found]
    assert ends == [True, False]


def test_scoring_inside_a_session_follows_the_same_rule():
    backend = tiny.backend("llama")
    request = ScoreRequest(Rendered(text=PROMPTS[0]), VARIANTS[0])
    with backend.session(Adaptation()) as session, torch.inference_mode():
        inside = score_continuations(session, [request])[0].logprobs
    outside = backend.score([request], Adaptation())[0].logprobs
    assert inside == pytest.approx(outside)
