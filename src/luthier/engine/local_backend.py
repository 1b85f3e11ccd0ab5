"""The local backend: any Hugging Face causal or encoder–decoder checkpoint, on this machine."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier.engine.adapters import low_rank, mixed
from luthier.engine.adapters.injected import injected, put_in, take_out
from luthier.engine.engine_choice import uses_prefix_trees
from luthier.engine.precision import autocast, matmul_precision
from luthier.engine.score_continuations import score_continuations
from luthier.engine.session import Session, soft_of
from luthier.errors import ModelError
from luthier.models.adaptation import Adaptation, Adapter, Weights
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    ModelFacts,
    ScoreRequest,
    ScoreResult,
)
from luthier.models.prompt import Rendered
from luthier.records import Capability


class LocalBackend(Backend):
    """Holds one base and applies adaptations to it for the length of a session.

    The base's tensors are never written to: forks live in a copy, adapters are injected beside the
    base's layers and taken out again.
    """

    def __init__(self, module: Any, tokenizer: Any, *, name: str, fingerprint: str) -> None:
        self._module = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.fingerprint = fingerprint
        self.capabilities = frozenset(Capability) - {Capability.IMAGES}
        self._fork: tuple[Weights, Any] | None = None
        self._applied: tuple[Any, Adapter, Any] | None = None
        self._speed: float | None = None
        # An adapter is put into the one base there is: threads take turns.
        self._turn = threading.RLock()
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        self.facts = _facts(module, tokenizer)

    @classmethod
    def open(cls, path: str, *, name: str, device: str = "auto") -> LocalBackend:
        """Load a folder or a hub id; float32 on a CPU, bfloat16 on an accelerator that has it."""
        import safetensors
        import transformers

        # Transformers logs every step of a load to stderr; errors still come as exceptions.
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        where = _device(device)
        half = where.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = torch.bfloat16 if half else torch.float32
        try:
            config = transformers.AutoConfig.from_pretrained(path)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            if _reads_both_ways(config):
                raise ValueError("it reads both ways and cannot say what comes next (BERT's kind)")
            auto = (
                transformers.AutoModelForSeq2SeqLM
                if config.is_encoder_decoder
                else transformers.AutoModelForCausalLM
            )
            module = auto.from_pretrained(path, dtype=dtype).to(where)
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
        return cls(module, tokenizer, name=name, fingerprint=fingerprint_of(path, module))

    @property
    def module(self) -> Any:
        """The base as it was loaded; an adapter left injected by the last session is taken out."""
        with self._turn:
            self._take_out()
            return self._module

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, special ones left out."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    @contextmanager
    def session(self, adaptation: Adaptation) -> Iterator[Session]:
        """The base with `adaptation` applied.

        Weights of a fork and the last adapter used stay in place for the next session, so that a
        request costs no injection; any other use of the base takes them out first. While it lasts,
        sessions of other threads wait.
        """
        with self._turn, self._applying(adaptation) as session:
            yield session

    @contextmanager
    def _applying(self, adaptation: Adaptation) -> Iterator[Session]:
        fork = adaptation.weights
        module = self._module if fork is None else self._forked(fork)
        soft = soft_of(adaptation.soft_prompt, module.get_input_embeddings().weight)
        placement = adaptation.soft_prompt.placement if adaptation.soft_prompt else "before"
        if adaptation.adapter is None:
            self._take_out()
            yield Session(module, self.tokenizer, None, soft, placement)
            return
        if not adaptation.adapter.tensors:  # a fresh one, to be trained: nobody else's business
            self._take_out()
            with injected(module, adaptation.adapter) as peft:
                yield Session(peft.get_base_model(), self.tokenizer, peft, soft, placement)
            return
        peft = self._put_in(module, adaptation.adapter)
        opened = adaptation.adapter.starts_with_bos
        yield Session(peft.get_base_model(), self.tokenizer, peft, soft, placement, opened)

    def _put_in(self, module: Any, adapter: Adapter) -> Any:
        held = self._applied
        if held is None or held[0] is not module or held[1] is not adapter:
            self._take_out()
            held = self._applied = (module, adapter, put_in(module, adapter))
        return held[2]

    def _take_out(self) -> None:
        if self._applied is not None:
            (module, _, wrapped), self._applied = self._applied, None
            take_out(module, wrapped)

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Log-probabilities of continuations: each shared prefix once, all labels in one row."""
        with self.session(adaptation) as session, torch.inference_mode():
            return score_continuations(session, requests)

    def score_mixed(self, asked: Sequence[tuple[ScoreRequest, Adaptation]]) -> list[ScoreResult]:
        """As `score`, each request under an adaptation of its own, results in their order.

        Requests whose adaptations differ in LoRA adapter, soft prompt, prompt or decoding only
        share batches; those with another adapter or a fork run adaptation by adaptation.
        """
        one_by_one = not uses_prefix_trees(Session(self._module, self.tokenizer))
        by_adaptation: dict[int, list[int]] = {}
        for i, (_, adaptation) in enumerate(asked):
            by_adaptation.setdefault(id(adaptation), []).append(i)
        out: dict[int, ScoreResult] = {}
        together: list[tuple[Adaptation, list[int]]] = []
        for members in by_adaptation.values():
            adaptation = asked[members[0]][1]
            adapter = adaptation.adapter
            mixes = adapter is None or low_rank.mixes(adapter)
            if one_by_one or not mixes or adaptation.weights is not None:
                requests = [asked[i][0] for i in members]
                out.update(zip(members, self.score(requests, adaptation), strict=True))
            else:
                together.append((adaptation, members))
        if together:
            with self._turn, ExitStack() as stack, torch.inference_mode():
                each = [
                    (
                        stack.enter_context(self.session(replace(a, adapter=None))),
                        a.adapter,
                        [asked[i][0] for i in members],
                    )
                    for a, members in together
                ]
                for (_, members), found in zip(together, mixed.score(each), strict=True):
                    out.update(zip(members, found, strict=True))
        return [out[i] for i in range(len(asked))]

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Text, written by all requests together: see `luthier.engine.generation`."""
        from luthier.engine.generation import generate

        with self.session(adaptation) as session, torch.inference_mode():
            return generate.generate(session, requests, adaptation)

    @property
    def precision(self) -> str:
        """The number format of matrix products, and how fast bfloat16 was where it was timed."""
        if self._module.device.type != "cpu" or self._module.dtype != torch.float32:
            return str(self._module.dtype).removeprefix("torch.")
        made = matmul_precision()
        timed = (
            ""
            if made.bfloat16_speedup is None
            else f" (bfloat16 {made.bfloat16_speedup:g} times as fast)"
        )
        return made.format + timed

    def tokens_per_second(self) -> float:
        """Measured once: forward tokens a second, 16 rows of 64 tokens, best of three."""
        if self._speed is None:
            ids = torch.randint(0, self.facts.vocabulary or 100, (16, 64))
            ids = ids.to(self.module.device)
            feed: dict[str, Any] = {"input_ids": ids}
            if self.module.config.is_encoder_decoder:
                feed["decoder_input_ids"] = ids[:, :1]
            else:
                feed["logits_to_keep"] = 1
            best = float("inf")
            with torch.inference_mode(), autocast(self._module.device, self._module.dtype):
                self.module(**feed)
                for _ in range(3):
                    start = time.perf_counter()
                    self.module(**feed)
                    best = min(best, time.perf_counter() - start)
            self._speed = ids.numel() / best
        return self._speed

    def score_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float],
        continuations: Sequence[str], adaptation: Adaptation,
    ) -> ScoreResult:  # fmt: skip
        """See `luthier.engine.mixture`."""
        from luthier.engine.mixture import score_by_token

        with self.session(adaptation) as session, torch.inference_mode():
            return score_by_token(session, prompts, weights, continuations)

    def generate_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float], adaptation: Adaptation
    ) -> Generated:
        """See `luthier.engine.mixture`."""
        from luthier.engine.mixture import generate_by_token

        with self.session(adaptation) as session, torch.inference_mode():
            return generate_by_token(session, prompts, weights, adaptation.decoding)

    def special_texts(self) -> tuple[str, ...]:
        """How the tokenizer's special tokens are written, longest first."""
        added = self.tokenizer.added_tokens_decoder.values()
        texts = {str(t) for t in added} | {str(t) for t in self.tokenizer.all_special_tokens}
        return tuple(sorted((t for t in texts if len(t) > 1 and t.strip()), key=len, reverse=True))

    def export_base(self, folder: Path) -> None:
        """Config and tokenizer of the base, so that a fork's folder opens as a model of its own."""
        self.module.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _forked(self, weights: Weights) -> Any:
        if self._fork is None or self._fork[0] is not weights:
            self._take_out()
            self._fork = None
            module = copy.deepcopy(self.module)
            # A state dict saved without the tied output embeddings leaves them tied.
            module.load_state_dict(dict(weights.tensors), strict=False)
            self._fork = (weights, module.eval().requires_grad_(False))
        return self._fork[1]


def fingerprint_of(path: str, module: Any) -> str:
    """sha256 over the config and samples of every tensor: cheap for any size, changed by
    training."""
    digest = hashlib.sha256(module.config.to_json_string().encode())
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // 4096)
        digest.update(name.encode())
        digest.update(flat[::step][:4096].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _reads_both_ways(config: Any) -> bool:
    """Whether this is an encoder, of which `AutoModelForCausalLM` makes a model all the same."""
    import transformers

    either = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    return either and not getattr(config, "is_decoder", True) and not config.is_encoder_decoder


def _device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _facts(module: Any, tokenizer: Any) -> ModelFacts:
    config = module.config.get_text_config()
    embeddings = module.get_input_embeddings().weight
    total = sum(p.numel() for p in module.parameters())
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
        # A base may have a template and do better in plain text; its config.json may say so.
        prefers_chat=bool(getattr(tokenizer, "chat_template", None))
        and bool(getattr(config, "prefers_chat", True)),
        device=str(module.device),
        dtype=str(embeddings.dtype).removeprefix("torch."),
    )
