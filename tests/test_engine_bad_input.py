"""Input that is too long, empty, ambiguous, or too large for memory."""

from __future__ import annotations

import pytest
import torch
import transformers

from luthier.engine import memory, reference
from luthier.engine.local_backend import LocalBackend
from luthier.errors import BackendError, CapabilityError, UserError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered
from tests import tiny

CLOSE = {"rel": 1e-4, "abs": 1e-3}
LABELS = (" billing", " billing account", " b", " delivery")


@pytest.fixture(scope="module")
def backends():
    return {family: tiny.backend(family) for family in ("llama", "gpt2", "opt", "t5")}


def check(backend, requests):
    scored = backend.score(requests, Adaptation())
    with backend.session(Adaptation()) as session, torch.inference_mode():
        expected = reference.score(session, requests)
    for ours, theirs in zip(scored, expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, **CLOSE)
        assert ours.usage.truncated == theirs.usage.truncated
    return scored


def test_too_long_keeps_the_first_token_and_the_end(backends):
    long = "Input: " + "delivery " * 900 + "\nLabel:"
    short = "Input: pay\nLabel:"
    cut, whole = check(
        backends["llama"], [ScoreRequest(Rendered(text=t), LABELS) for t in (long, short)]
    )
    assert (cut.usage.truncated, whole.usage.truncated) == (1, 0)
    longest = max(cut.tokens)
    assert cut.usage.prompt_tokens == 512 - longest


def test_a_continuation_longer_than_the_context(backends):
    request = ScoreRequest(Rendered(text="a"), (" delivery" * 900,))
    with pytest.raises(CapabilityError, match="512"):
        backends["llama"].score([request], Adaptation())


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "t5"])
def test_an_empty_input(backends, family):
    scored = check(backends[family], [ScoreRequest(Rendered(text=""), LABELS)])[0]
    assert all(x < 0 for x in scored.logprobs)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "t5"])
def test_labels_equal_or_one_the_beginning_of_another(backends, family):
    labels = (" billing", " billing account", " billing", " billing account fault")
    scored = check(backends[family], [ScoreRequest(Rendered(text="Input: a\nLabel:"), labels)])[0]
    assert scored.logprobs[0] == scored.logprobs[2]
    if family != "t5":  # there every label ends in an end of sequence of its own
        assert scored.logprobs[0] > scored.logprobs[1] > scored.logprobs[3]


def merging() -> LocalBackend:
    """A tokenizer without spaces at word starts, where "b" and "illing" become one token."""
    from tokenizers import Tokenizer, models

    words = ["<s>", "a", "b", "c", "ab", "abc", "bc"]
    inner = Tokenizer(
        models.BPE({w: i for i, w in enumerate(words)}, [("a", "b"), ("ab", "c"), ("b", "c")])
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", pad_token="<s>", eos_token="<s>"
    )
    backend = tiny.backend("llama", seed=3)
    return LocalBackend(backend.module, tokenizer, name="merging", fingerprint="0" * 64)


@pytest.mark.parametrize("prompt", ["ca", "a"])
def test_a_tokenizer_that_merges_across_the_boundary(prompt):
    """Both labels are scored from the token that one of them changed: log p of "ab" against that
    of "a" and then "c", after the same tokens."""
    backend = merging()
    scored = check(backend, [ScoreRequest(Rendered(text=prompt), ("b", "c"))])[0]
    before = [3] if prompt == "ca" else [0]
    rows = {"b": [*before, 4], "c": [*before, 1, 3]}
    for got, row in zip(scored.logprobs, rows.values(), strict=True):
        with torch.inference_mode():
            logits = backend.module(input_ids=torch.tensor([row])).logits[0, :-1]
        logs = torch.log_softmax(logits, -1)
        wanted = sum(float(logs[i, token]) for i, token in enumerate(row[1:]))
        assert got == pytest.approx(wanted, **CLOSE)
    assert scored.tokens == (1, 2)


def failing(real, most: int):
    """The forward pass of a machine that has room for `most` tokens at once."""

    def forward(*args, **kwargs):
        given = kwargs.get("inputs_embeds")
        if given is not None and given.shape[0] * given.shape[1] > most:
            raise RuntimeError(
                "DefaultCPUAllocator: not enough memory: you tried to allocate 1 byte"
            )
        return real(*args, **kwargs)

    return forward


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_out_of_memory_divides_the_batch_and_goes_on(backends, family, monkeypatch):
    backend = backends[family]
    head = "Route the message to one queue. " * 12
    requests = [
        ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), LABELS) for i in ("pay", "x", "b")
    ]
    expected = backend.score(requests, Adaptation())
    target = backend.module if family == "llama" else backend.module.get_encoder()
    monkeypatch.setattr(
        target, "forward", failing(target.forward, 60 if family == "llama" else 400)
    )
    for ours, theirs in zip(backend.score(requests, Adaptation()), expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, **CLOSE)


def test_not_even_one_row_fits(backends, monkeypatch):
    module = backends["llama"].module
    monkeypatch.setattr(module, "forward", failing(module.forward, 2))
    with pytest.raises(BackendError, match="memory"):
        backends["llama"].score([ScoreRequest(Rendered(text="a b c"), (" b",))], Adaptation())


def test_other_errors_are_not_taken_for_memory():
    assert memory.out_of_memory(MemoryError())
    assert not memory.out_of_memory(RuntimeError("shapes do not match"))


def test_a_small_cap_splits_the_plan_and_changes_no_score(backends, monkeypatch):
    head = "Input: my card was charged twice\nLabel: billing\n\n" * 5
    labels = tuple(f" {a} {b}" for a in ("billing", "account") for b in "abcdefgh")
    requests = [ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), labels) for i in "abcd"]
    backend = backends["llama"]
    expected = backend.score(requests, Adaptation())
    forward, sizes = backend.module.forward, []

    def seen(*args, **kwargs):
        sizes.append(kwargs["inputs_embeds"].shape[:2].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(backend.module, "forward", seen)
    backend.score(requests, Adaptation())
    free = list(sizes)
    sizes.clear()
    monkeypatch.setenv("LUTHIER_MEMORY", "100K")
    for ours, theirs in zip(backend.score(requests, Adaptation()), expected, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, **CLOSE)
    assert len(sizes) > len(free)
    assert max(sizes) < max(free)


@pytest.mark.parametrize("asked", ["much", "0", "-1", "2 parsecs"])
def test_an_amount_of_memory_that_is_none(backends, monkeypatch, asked):
    monkeypatch.setenv("LUTHIER_MEMORY", asked)
    with pytest.raises(UserError, match="LUTHIER_MEMORY"):
        backends["llama"].score([ScoreRequest(Rendered(text="a"), LABELS)], Adaptation())


@pytest.mark.parametrize(
    ("asked", "bytes_"), [("500", 500), ("2GB", 2 << 30), ("1.5K", 1536), ("3MiB", 3 << 20)]
)
def test_amounts_of_memory(monkeypatch, asked, bytes_):
    monkeypatch.setenv("LUTHIER_MEMORY", asked)
    assert memory.memory_cap(torch.device("cpu")) == bytes_
