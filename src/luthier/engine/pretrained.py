"""Loading a checkpoint: a folder or a hub id becomes a module, a tokenizer, and what is known of
them."""

from __future__ import annotations

from typing import Any

import torch

from luthier.engine.chat_template import chat_template
from luthier.errors import ModelError
from luthier.models.backend import ModelFacts


def load_pretrained(path: str, *, name: str, device: str = "auto") -> tuple[Any, Any]:
    """The module and the tokenizer of a folder or a hub id: float32 on a CPU, bfloat16 on an
    accelerator that has it.

    `name` is what the user called it, `device` a torch device or "auto". ModelError for what cannot
    be opened.
    """
    import safetensors
    import transformers

    # Transformers logs every step of a load to stderr; errors still come as exceptions.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    target = _device(device)
    half = target.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    try:
        # Said each time: unsaid, Transformers asks at the terminal whether to run a model's code.
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        if _is_encoder(config):
            raise ValueError("it reads both ways and cannot say what comes next (BERT's kind)")
        auto = (
            transformers.AutoModelForSeq2SeqLM
            if config.is_encoder_decoder
            else transformers.AutoModelForCausalLM
        )
        module = auto.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, use_safetensors=True
        ).to(target)
        _check_vocabulary(name, module, tokenizer)
    except safetensors.SafetensorError as error:
        raise ModelError(
            f"The weights of {name!r} cannot be read: {error}",
            next_step="A file was cut short or damaged: copy or download it again.",
        ) from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"Could not open the model {name!r}: {str(error).splitlines()[0][:300]}",
            choices=("nano", "a folder with config.json", "org/name from the hub"),
            next_step="Is the hub reachable from here? A folder needs no network.",
        ) from error
    return module, tokenizer


def _check_vocabulary(name: str, module: Any, tokenizer: Any) -> None:
    """ModelError where the tokenizer knows tokens for which the base has no embedding."""
    rows = int(module.get_input_embeddings().weight.shape[0])
    beyond = sorted((i, t) for t, i in tokenizer.get_vocab().items() if i >= rows)
    if beyond:
        raise ModelError(
            f"the tokenizer of {name!r} has {len(beyond)} tokens more than the base has "
            f"embeddings ({rows}), the first of them {beyond[0][1]!r}",
            next_step="Save the tokenizer that belongs to the base; or give the base more "
            "embeddings with resize_token_embeddings, and train them.",
        )


def _is_encoder(config: Any) -> bool:
    """Whether this is an encoder, of which `AutoModelForCausalLM` makes a model all the same."""
    import transformers

    either = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    return either and not getattr(config, "is_decoder", True) and not config.is_encoder_decoder


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _lists_tools(tokenizer: Any) -> bool:
    template = chat_template(tokenizer)
    return template is not None and template.shows_tools


def model_facts(module: Any, tokenizer: Any) -> ModelFacts:
    """Sizes and limits, as the config and the module have them."""
    config = module.config.get_text_config()
    embeddings = module.get_input_embeddings().weight
    total = sum(p.numel() for p in module.parameters())
    template = chat_template(tokenizer)
    return ModelFacts(
        parameters=total,
        body_parameters=total - embeddings.numel(),
        hidden_size=int(embeddings.shape[1]),
        layers=getattr(config, "num_hidden_layers", None),
        vocabulary=int(embeddings.shape[0]),
        context_length=getattr(config, "max_position_embeddings", None),
        architecture=type(module).__name__,
        encoder_decoder=bool(module.config.is_encoder_decoder),
        has_chat_template=bool(getattr(tokenizer, "chat_template", None)),
        thinks=template is not None and template.thinks,
        # A base may have a template and do better in plain text; its config.json may say so.
        prefers_chat=bool(getattr(tokenizer, "chat_template", None))
        and bool(getattr(config, "prefers_chat", True)),
        lists_tools=_lists_tools(tokenizer),
        device=str(module.device),
        dtype=str(embeddings.dtype).removeprefix("torch."),
    )
