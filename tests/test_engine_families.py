"""Bases that do something of their own in their attention, their masks or their embeddings."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import transformers

from luthier.engine import engine_choice
from luthier.engine.local_backend import LocalBackend
from luthier.engine.prefix_tree import run_tree, shared_attention
from luthier.engine.prefix_tree.planner import PlanLimits
from luthier.engine.request_rows import token_rows
from luthier.errors import ModelError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.model import Model
from luthier.models.prompt import Rendered
from luthier.records import Example
from luthier.techniques.soft.soft_prompt import trials_of
from luthier.training.parameters import SoftPromptParameters
from luthier.training.prompt_tuning import cached_attention
from luthier.training.prompt_tuning.strategies import SoftSuffix
from luthier.training.rows import TrainRow, answer_logprobs, batch_of, rows_for
from luthier.training.sequential_trials import SequentialTrials
from tests import tiny

HEAD = "Input: my card was charged twice\nLabel: billing\n\n" * 2
LABELS = (" billing", " billing account", " b", " delivery")
REQUESTS = [
    ScoreRequest(Rendered(text=f"{HEAD}Input: {i}\nLabel:"), LABELS)
    for i in ("pay me", "x", "where is my parcel", "brown fox jumps over the lazy dog")
]
NAMES = {"gpt_neo": "GPTNeo", "openai-gpt": "OpenAIGPT", "gemma3n": "Gemma3nText"}
SHAPE = {
    "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
BOTH_SIDES = {
    "d_model": 32, "decoder_start_token_id": 0, "scale_embedding": True,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")},
}  # fmt: skip
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
}  # fmt: skip
MORE: dict[str, dict[str, Any]] = {
    "JetMoe": {"kv_channels": 8, "num_local_experts": 4},  # key heads in another order
    "DiffLlama": {},  # two attentions a layer, over the halves of the values
    "Doge": {},  # adds to the mask what it computes from the values
    "DeepseekV3": LATENT,  # keeps something else than keys and values
    "gpt_neo": {  # a window that counts places in the row
        "num_layers": 4, "num_heads": 4, "window_size": 9,
        "attention_types": [[["global", "local"], 2]],
    },
    "openai-gpt": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256},  # no mask of rows
    "gemma3n": {  # an inner width for each layer, keys shared between layers
        "head_dim": 8, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320,
        "laurel_rank": 4, "num_kv_shared_layers": 2, "sliding_window": 9,
        "intermediate_size": [48] * 4, "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "Marian": BOTH_SIDES, "Pegasus": BOTH_SIDES, "Bart": BOTH_SIDES,
    "SwitchTransformers": {  # an encoder that returns more than states
        "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2,
        "num_heads": 4, "num_experts": 2, "decoder_start_token_id": 0,
    },
}  # fmt: skip
DECODERS = ("JetMoe", "DiffLlama", "Doge", "DeepseekV3", "gpt_neo", "openai-gpt", "gemma3n")


@cache
def backend(family: str) -> LocalBackend:
    kind = getattr(transformers, f"{NAMES.get(family, family)}Config")
    both = family not in DECODERS
    made = kind(**SHAPE | {"num_hidden_layers": 2 if both else 4} | MORE[family])
    auto = transformers.AutoModelForSeq2SeqLM if both else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = auto.from_config(made, dtype=torch.float32)
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0.0, 0.15)
    words = tiny.tokenizer(bos=not both, eos=both)
    return LocalBackend(module, words, name=family, fingerprint="0" * 64)


def by_ids(base: LocalBackend, request: ScoreRequest) -> list[float]:
    """What the module itself says of each continuation, given ids and nothing else."""
    found = []
    with base.session(Adaptation()) as session, torch.inference_mode():
        row = token_rows(session, [request])[0]
        for continuation in row.continuations:
            targets = torch.tensor(continuation)
            if session.encoder_decoder:
                ids = torch.tensor([row.prefix])
                logits = session.module(input_ids=ids, labels=targets[None]).logits[0]
            else:
                ids = torch.tensor([[*row.prefix, *continuation]])
                logits = session.module(input_ids=ids).logits[0, len(row.prefix) - 1 : -1]
            logs = logits.log_softmax(-1).gather(1, targets[:, None])
            found.append(float(logs.sum()))
    return found


@pytest.mark.parametrize("limits", [None, PlanLimits(call=8, packed_row=24, tree=5)])
@pytest.mark.parametrize("family", MORE)
def test_scores_are_those_of_the_module_itself(family, limits, monkeypatch):
    if limits is not None:
        monkeypatch.setattr(run_tree, "plan_limits", lambda *_: limits)
        monkeypatch.setattr(shared_attention, "WORTH_IT", 1)
    base = backend(family)
    for scored, request in zip(base.score(REQUESTS, Adaptation()), REQUESTS, strict=True):
        assert scored.logprobs == pytest.approx(by_ids(base, request), rel=1e-4, abs=1e-3)


def test_only_what_was_tried_is_taken_apart():
    for family, wanted in {"JetMoe": False, "Doge": False, "DiffLlama": False}.items():
        with backend(family).session(Adaptation()) as session:
            assert shared_attention.supports_split_attention(session) is wanted
    for family in ("llama", "gpt2", "qwen3", "opt", "mistral", "gemma3"):
        with tiny.backend(family).session(Adaptation()) as session:
            assert shared_attention.supports_split_attention(session)


@pytest.mark.parametrize("family", ["JetMoe", "DiffLlama", "Doge", "DeepseekV3", "gemma3n"])
def test_soft_prompts_after_cached_inputs_train_as_in_one_pass(family, monkeypatch):
    monkeypatch.setattr(cached_attention, "LONGER", 0)
    with backend(family).session(Adaptation()) as session:
        assert engine_choice.supports_tree_masks(session)
        pairs = [session.encode_pair(r.prompt, LABELS[k]) for k, r in enumerate(REQUESTS)]
        rows = [TrainRow(ids, start) for ids, start in pairs]
        soft = torch.randn(3, 32, generator=torch.manual_seed(1)).requires_grad_()
        prompts, answers = [r.prompt for r in rows], [[r.answer] for r in rows]
        found = SoftSuffix(session, prompts).logprobs([soft], prompts, answers)
        loss = -found.sum() / sum(len(r.answer) for r in rows)
        like = replace(session, soft=soft.detach()[None], placement="after")
        theirs = answer_logprobs(like, batch_of(like, rows), soft[None])
        expected = -theirs.sum() / sum(len(r.answer) for r in rows)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
        ours, theirs = (torch.autograd.grad(x, soft)[0] for x in (loss, expected))
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt_neo", "openai-gpt"])
def test_soft_prompts_of_bases_without_trees_train_row_by_row(family):
    with backend(family).session(Adaptation()) as session:
        trials = [SoftPromptParameters(torch.zeros(3, 32), bottleneck=None)]
        assert isinstance(trials_of(session, trials, "after"), SequentialTrials)


@pytest.mark.parametrize("family", ["Marian", "Bart", "SwitchTransformers"])
def test_an_encoder_decoder_writes_what_transformers_writes(family):
    base = backend(family)
    decoding = Decoding(max_new_tokens=6)
    written = base.generate([GenerateRequest(REQUESTS[0].prompt, decoding=decoding)], Adaptation())
    ids = base.tokenizer(REQUESTS[0].prompt.text, return_tensors="pt").input_ids
    out = base.module.generate(
        input_ids=ids, max_new_tokens=6, do_sample=False, num_beams=1, forced_eos_token_id=None
    )
    assert written[0].text == base.tokenizer.decode(out[0], skip_special_tokens=True).strip()


def test_an_encoder_decoder_of_limited_context_cuts_what_it_reads_and_writes():
    request = GenerateRequest(
        Rendered(text="delivery " * 400), decoding=Decoding(max_new_tokens=400)
    )
    found = backend("Bart").generate([request], Adaptation())[0]
    assert found.usage.truncated == 1
    assert found.usage.prompt_tokens == 256
    assert found.usage.generated_tokens <= 256


def test_an_encoder_decoder_of_limited_context_trains_on_what_it_reads():
    base = backend("Bart")
    example = Example("1", "delivery " * 400, "account " * 400)
    with base.session(Adaptation()) as session:
        row = rows_for(Model(base), session, [example], virtual_tokens=6)[0]
        assert 230 < len(row.prompt) <= 250  # the middle of the input is left out, by words
        assert len(row.answer) == 256
        assert torch.isfinite(answer_logprobs(session, batch_of(session, [row])))


def test_an_encoder_is_refused(tmp_path):
    made = transformers.BertConfig(**SHAPE)
    transformers.BertForMaskedLM(made).save_pretrained(tmp_path)
    tiny.tokenizer(bos=True).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="both ways"):
        LocalBackend.open(str(tmp_path), name="bert")
