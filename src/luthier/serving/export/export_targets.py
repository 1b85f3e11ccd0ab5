"""What each target carries, and in words what it does not."""

from __future__ import annotations

from typing import Any

from luthier.errors import CapabilityError
from luthier.models.model import Model
from luthier.records import Capability

TARGETS = ("merged", "peft", "gguf", "ollama", "vllm")
# What opens the files of each target.
OPENED_BY = {
    "merged": "a checkpoint that plain Transformers, vLLM, SGLang and TGI open",
    "peft": "the adapter alone, for PEFT",
    "gguf": "for llama.cpp, LM Studio and others",
    "ollama": "for Ollama",
    "vllm": "the adapter and the command for vLLM",
}
MERGED_KINDS = ("LORA", "IA3", "LOHA", "LOKR", "OFT", "BOFT", "VERA", "ADALORA")


def check_target(model: Model, target: str) -> None:
    """CapabilityError where a target cannot carry a model."""
    reason = refusal(model, target)
    if reason:
        others = [t for t in TARGETS if refusal(model, t) is None]
        ways = [f"--to {t} ({OPENED_BY[t]})" for t in others]
        instead = f"Choose {', or '.join(ways)}; or serve" if ways else "Serve"
        raise CapabilityError(
            f"--to {target} cannot carry this model: {reason}",
            choices=others,
            next_step=f"{instead} it with luthier serve, which carries everything.",
        )


def refusal(model: Model, target: str) -> str | None:
    """Why a target cannot carry a model; None where it can."""
    adaptation = model.adaptation
    if Capability.GRADIENTS not in model.capabilities:
        return f"the weights of {model.backend.name} are not on this machine"
    if adaptation.head is not None:
        return "its answers come from a classifier on the base's states, which no server knows"
    if adaptation.knowledge is not None:
        return "its answers are looked up in an index, which stays with Luthier"
    soft, adapter = adaptation.soft_prompt, adaptation.adapter
    if soft is not None and adapter is not None:
        return "it has a soft prompt and an adapter, and servers take one of the two"
    if soft is not None and soft.tensor.shape[0] > 1:
        return "several soft prompts vote, which other programs do not"
    kind = "" if adapter is None else str(adapter.config.get("peft_type"))
    if target in ("merged", "gguf", "ollama"):
        if soft is not None:
            return "virtual tokens are inputs and no weights"
        if kind and kind not in MERGED_KINDS:
            return f"a {kind.lower().replace('_', ' ')} adapter is no change of the weights"
    if target == "peft":
        return _peft_refusal(model, kind)
    if target == "vllm":
        if kind and kind != "LORA":
            return f"vLLM takes LoRA adapters, and this one is {kind}"
        if soft is not None:
            return _soft_refusal(model)
    if target in ("gguf", "ollama"):
        return _gguf_refusal(model)
    return None


def _peft_refusal(model: Model, kind: str) -> str | None:
    if model.adaptation.weights is not None:
        return "it is a fork of all weights: --to merged writes it as a checkpoint"
    if model.adaptation.soft_prompt is not None:
        return _soft_refusal(model)
    return None if kind else "it has no adapter: its prompt is all there is, in luthier.yaml"


def _soft_refusal(model: Model) -> str | None:
    soft = model.adaptation.soft_prompt
    if soft is not None and soft.placement != "before":
        return "its virtual tokens stand behind the prompt, and PEFT and vLLM put them before it"
    bos = _tokenizer(model).bos_token_id
    first = _tokenizer(model)("a").input_ids[:1]
    if bos is not None and first == [bos]:
        return "its virtual tokens stand behind BOS, and other programs put them before it"
    return None


def _gguf_refusal(model: Model) -> str | None:
    from luthier.serving.export.gguf_families import family_of, uncovered

    config = model.backend.module.config  # type: ignore[attr-defined]
    return None if family_of(config) else uncovered(config)


def _tokenizer(model: Model) -> Any:
    return model.backend.tokenizer  # type: ignore[attr-defined]
