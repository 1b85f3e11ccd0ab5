"""The engine over random trees of requests: equal to the plain way, each distinct token once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.engine import reference
from luthier.engine.prefix_tree import run_tree, shared_attention
from luthier.engine.prefix_tree.planner import PlanLimits, PrefixNode, plan_tree
from luthier.engine.request_rows import TokenRow
from luthier.errors import UserError
from luthier.models.adaptation import Adaptation, Adapter, VirtualTokens
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny

PARTS = (
    "Route the message.\n\n", "Input: my card was charged twice\nLabel: billing\n\n", "a", "b ",
    "where is my parcel ", "\n", "Passage: the quick brown fox jumps over the lazy dog\n\n",
)  # fmt: skip
LABELS = (" billing", " billing account", " b", " delivery", " account access", "x", " ")
PATHS = st.lists(st.lists(st.sampled_from(PARTS), max_size=5), min_size=1, max_size=6)
CHOSEN = st.lists(st.sampled_from(LABELS), min_size=1, max_size=5)
# From "every shared token is worth a node" to "nothing is", wide rows and narrow.
LIMITS = st.builds(
    PlanLimits,
    call=st.sampled_from([0, 8, 64]),
    packed_row=st.sampled_from([1, 24, 256]),
    tree=st.sampled_from([2, 5, 512]),
    kept=st.sampled_from([4, 10_000]),
)
CLOSE = {"rel": 1e-4, "abs": 1e-3}
quick = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in tiny.FAMILIES}


def soft(votes: int, placement: str) -> Adaptation:
    tensor = torch.randn(votes, 4, 32, generator=torch.manual_seed(1))
    return Adaptation(soft_prompt=VirtualTokens(tensor, placement))


def prefix(family: str) -> Adaptation:
    heads = {"llama": 2, "opt": 4}[family]  # of keys, each 8 wide
    config = {
        "peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5,
        "num_layers": 3, "token_dim": 8 * heads, "num_attention_heads": heads,
        "num_transformer_submodules": 1, "base_model_name_or_path": None,
    }  # fmt: skip
    weight = torch.randn(5, 3 * 2 * 8 * heads, generator=torch.manual_seed(4))
    return Adaptation(adapter=Adapter(config, {"prompt_embeddings": weight}))


def plainly(backend, adaptation, requests):
    with backend.session(adaptation) as session, torch.inference_mode():
        return reference.score(session, requests)


def check(backend, adaptation, requests):
    scored = backend.score(requests, adaptation)
    for ours, theirs in zip(scored, plainly(backend, adaptation, requests), strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, **CLOSE)
        assert ours.tokens == theirs.tokens
        assert ours.usage.truncated == theirs.usage.truncated
        assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    return scored


ADAPTATIONS = {
    "bare": Adaptation(),
    "before": soft(1, "before"),
    "after": soft(1, "after"),
    "votes": soft(3, "before"),
}


@pytest.mark.parametrize("family", tiny.FAMILIES)
@quick
@given(PATHS, st.data(), LIMITS, st.sampled_from(sorted(ADAPTATIONS)), st.sampled_from([1, 10_000]))
def test_random_trees_score_as_the_plain_way(
    backends, family, paths, data, limits, adaptation, worth_it
):
    requests = [ScoreRequest(Rendered(text="".join(p)), tuple(data.draw(CHOSEN))) for p in paths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_tree, "plan_limits", lambda *_: limits)
        patch.setattr(shared_attention, "WORTH_IT", worth_it)
        check(backends[family], ADAPTATIONS[adaptation], requests)


@pytest.mark.parametrize("family", ["llama", "opt"])
@quick
@given(PATHS, st.data(), LIMITS, st.sampled_from([1, 10_000]))
def test_random_trees_behind_a_prefix_adapter(backends, family, paths, data, limits, worth_it):
    requests = [ScoreRequest(Rendered(text="".join(p)), tuple(data.draw(CHOSEN))) for p in paths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_tree, "plan_limits", lambda *_: limits)
        patch.setattr(shared_attention, "WORTH_IT", worth_it)
        check(backends[family], prefix(family), requests)


IDS = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


@given(st.lists(st.tuples(IDS, st.lists(IDS, min_size=1, max_size=4)), max_size=12), LIMITS)
def test_a_plan_holds_every_branch_once_under_what_it_shares(asked, limits):
    rows = [
        TokenRow(prefix, tuple(dict.fromkeys(continuations))) for prefix, continuations in asked
    ]
    held = []

    def look(node: PrefixNode, kept: tuple[int, ...]):
        if node.sample is not None:
            assert node.sample.prefix[: node.start] == kept
            kept = node.sample.prefix[: node.stop]
            assert len(kept) == node.stop
        for packed_row in node.packed_rows:
            for part in packed_row.segments:
                assert part.prefix[:-1][: len(kept)] == kept
                held.extend((part.row, b) for b in part.continuations)
                assert part.tree.targets == tuple(
                    rows[part.row].continuations[b] for b in part.continuations
                )
        for child in node.children:
            look(child, kept)

    look(plan_tree(rows, limits), ())
    assert sorted(held) == [
        (k, b) for k, row in enumerate(rows) for b in range(len(row.continuations))
    ]


def test_each_distinct_token_is_computed_once(backends):
    """Three passages, each before four questions, each with two labels of several tokens."""
    backend = backends["llama"]
    head = "Read the passage and answer the question that follows it.\n\n" * 4
    passages = [
        f"Passage {k}: " + "the quick brown fox jumps over the lazy dog " * 8 for k in "abc"
    ]
    requests = [
        ScoreRequest(Rendered(text=f"{head}{p}\n\nInput: {q}\nLabel:"), LABELS[:2])
        for q in ("where", "pay me", "x", "brown")
        for p in passages
    ]
    scored = check(backend, Adaptation(), requests)
    with backend.session(Adaptation()) as session:
        prefixes = [session.encode(r.prompt) for r in requests]
        trees = [
            [session.encode_pair(r.prompt, c)[0][len(t) : -1] for c in LABELS[:2]]
            for r, t in zip(requests, prefixes, strict=True)
        ]
    # The floor: prefixes of trunks, each once; then each trunk's end and its labels' own tokens.
    prefixes = {tuple(t[:n]) for t in prefixes for n in range(1, len(t))}
    ends = sum(1 + len({tuple(f[:n]) for f in fs for n in range(1, len(f) + 1)}) for fs in trees)
    computed = sum(r.usage.computed_tokens for r in scored)
    assert len(prefixes) + ends <= computed <= 1.02 * (len(prefixes) + ends)
    assert computed < 0.25 * sum(len(t) for t in prefixes)


def test_the_same_request_twice_limits_nothing_more(backends):
    request = ScoreRequest(Rendered(text="Input: where is my parcel\nLabel:"), LABELS)
    turned = ScoreRequest(request.prompt, LABELS[::-1])
    first, again, back = check(backends["gpt2"], Adaptation(), [request, request, turned])
    assert first.usage.computed_tokens > 0
    assert again.usage.computed_tokens == back.usage.computed_tokens == 0
    assert again.logprobs == first.logprobs == back.logprobs[::-1]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_the_environment_switches_the_plain_way_on(backends, family, monkeypatch):
    head = "Input: my card was charged twice\nLabel: billing\n\n"
    requests = [ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), LABELS) for i in "abc"]
    fast = backends[family].score(requests, Adaptation())
    monkeypatch.setenv("LUTHIER_ENGINE", "plain")
    slow = backends[family].score(requests, Adaptation())
    for ours, theirs in zip(fast, slow, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, **CLOSE)
        assert ours.usage.computed_tokens < theirs.usage.computed_tokens
        assert ours.greedy == theirs.greedy


def test_an_engine_that_is_none(backends, monkeypatch):
    monkeypatch.setenv("LUTHIER_ENGINE", "plian")
    with pytest.raises(UserError) as caught:
        backends["llama"].score([ScoreRequest(Rendered(text="a"), LABELS)], Adaptation())
    assert caught.value.exit_code == 2
    for said in ("plian", "tree", "plain"):
        assert said in str(caught.value)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "qwen3"])
def test_a_long_shared_prefix_is_read_and_not_copied(backends, family, monkeypatch):
    head = "Input: my card was charged twice\nLabel: billing\n\n" * 6
    requests = [ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), LABELS[:3]) for i in "abc"]
    parts: list[tuple[int, int]] = []
    real = shared_attention._attention_part

    def seen(query, key, *args, **kwargs):
        parts.append((len(key), key.shape[2]))
        return real(query, key, *args, **kwargs)

    monkeypatch.setattr(shared_attention, "_attention_part", seen)
    monkeypatch.setattr(run_tree, "plan_limits", lambda *_: PlanLimits(call=8, packed_row=24))
    check(backends[family], Adaptation(), requests)
    prefixes = [length for rows, length in parts if length > 60]
    assert len(prefixes) == 3  # one a layer
    assert all(rows == 1 for rows, length in parts if length > 60)
