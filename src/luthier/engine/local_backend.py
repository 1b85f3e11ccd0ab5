"""The local backend: any Hugging Face causal or encoder–decoder checkpoint, on this machine."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from luthier.engine.adapters.batched_lora import shares_batches
from luthier.engine.adapters.injected import inject, injected, remove
from luthier.engine.adapters.loading import load_weights
from luthier.engine.adapters.mixed_scoring import AdaptedRequests, score_together
from luthier.engine.base_fingerprint import fingerprint_of
from luthier.engine.chat_template import CLOCK_NOTE, chat_template
from luthier.engine.continuation_scoring import score_continuations
from luthier.engine.continuous import ContinuousEngine
from luthier.engine.engine_choice import uses_prefix_trees
from luthier.engine.precision import autocast, matmul_precision
from luthier.engine.pretrained import load_pretrained, model_facts
from luthier.engine.session import Session
from luthier.models.adaptation import Adaptation, Adapter, Weights
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    PooledStates,
    ScoreRequest,
    ScoreResult,
    TokenLogprobs,
)
from luthier.models.prompt import Rendered
from luthier.records import Capability


class InjectedAdapter(NamedTuple):
    """An adapter that stays beside the weights of `module`, as the PeftModel `wrapped`."""

    module: Any
    adapter: Adapter
    wrapped: Any


class LocalBackend(Backend):
    """Holds one base and applies adaptations to it for the length of a session.

    The base's tensors are never written to: forks live in a copy, adapters are injected beside the
    base's layers and removed again.
    """

    def __init__(self, module: Any, tokenizer: Any, *, name: str, fingerprint: str) -> None:
        self._module = module.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.fingerprint = fingerprint
        self.capabilities = frozenset(Capability) - {
            Capability.IMAGES, Capability.DRAWING, Capability.DENOISING,
        }  # fmt: skip
        if module.config.is_encoder_decoder:
            self.capabilities -= {Capability.MIXTURES}
        self._fork: tuple[Weights, Any] | None = None
        self._injected: InjectedAdapter | None = None
        self._speed: float | None = None
        self._engine: ContinuousEngine | None = None
        # An adapter is put into the one base there is: threads take turns.
        self._lock = threading.RLock()
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        self.facts = model_facts(module, tokenizer)
        template = chat_template(tokenizer)
        self.call_format = "plain" if template is None else template.call_format

    @classmethod
    def open(cls, path: str, *, name: str, device: str = "auto") -> LocalBackend:
        """Load a folder or a hub id; see `load_pretrained`."""
        module, tokenizer = load_pretrained(path, name=name, device=device)
        fingerprint = fingerprint_of(module, tokenizer)
        return cls(module, tokenizer, name=name, fingerprint=fingerprint)

    @property
    def module(self) -> Any:
        """The base as it was loaded; an adapter that the last session left injected is removed."""
        with self._lock:
            self._remove_adapter()
            return self._module

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether the chat template's clock was held still."""
        template = chat_template(self.tokenizer)
        return (CLOCK_NOTE,) if template is not None and template.has_clock else ()

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text, special ones left out."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    @contextmanager
    def session(self, adaptation: Adaptation) -> Iterator[Session]:
        """The base with `adaptation` applied.

        The weights of a fork and the last adapter stay in place for the next session, so that a
        request costs no injection; any other use of the base removes them first. While a session
        lasts, sessions of other threads wait.
        """
        with self._lock, ExitStack() as stack:
            fork, adapter, soft = adaptation.weights, adaptation.adapter, adaptation.soft_prompt
            module = self._module if fork is None else self._forked(fork)
            peft = None
            if adapter is None or not adapter.tensors:
                self._remove_adapter()
                if adapter is not None:  # a fresh one, to be trained: it does not stay
                    peft = stack.enter_context(injected(module, adapter))
            else:
                peft = self._inject(module, adapter)
            heads = [slot.head for slot in (adapter, soft) if slot is not None]
            base = module if peft is None else peft.get_base_model()
            device = base.get_input_embeddings().weight.device
            yield Session(
                base,
                self.tokenizer,
                peft,
                soft=None if soft is None else soft.tensor.to(device=device, dtype=torch.float32),
                placement="before" if soft is None else soft.placement,
                bos_in_prefix=adapter is not None and adapter.starts_with_bos,
                head=tuple(chain.from_iterable(heads)),
            )

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Log-probabilities of continuations: each shared prefix once, all labels in one row."""
        with self.session(adaptation) as session, torch.inference_mode():
            return score_continuations(session, requests)

    def score_mixed(self, requests: Sequence[tuple[ScoreRequest, Adaptation]]) -> list[ScoreResult]:
        """As `score`, each request under an adaptation of its own, results in their order.

        Requests whose adaptations differ in LoRA adapter, soft prompt, prompt or decoding only
        share batches; those with another adapter or a fork run adaptation by adaptation.
        """
        apart = not uses_prefix_trees(Session(self._module, self.tokenizer))
        by_adaptation: dict[int, list[int]] = {}
        for i, (_, adaptation) in enumerate(requests):
            by_adaptation.setdefault(id(adaptation), []).append(i)
        results: dict[int, ScoreResult] = {}
        together: list[tuple[Adaptation, list[int]]] = []
        for members in by_adaptation.values():
            adaptation = requests[members[0]][1]
            shares = adaptation.adapter is None or shares_batches(adaptation.adapter)
            if apart or not shares or adaptation.weights is not None:
                found = self.score([requests[i][0] for i in members], adaptation)
                results.update(zip(members, found, strict=True))
            else:
                together.append((adaptation, members))
        if together:
            with self._lock, ExitStack() as stack, torch.inference_mode():
                groups = [
                    AdaptedRequests(
                        stack.enter_context(self.session(replace(adaptation, adapter=None))),
                        adaptation.adapter,
                        [requests[i][0] for i in members],
                    )
                    for adaptation, members in together
                ]
                for (_, members), found in zip(together, score_together(groups), strict=True):
                    results.update(zip(members, found, strict=True))
        return [results[i] for i in range(len(requests))]

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Text, all requests generated together: see `luthier.engine.generation`."""
        from luthier.engine.generation.generate import generate

        with self.session(adaptation) as session, torch.inference_mode():
            return generate(session, requests, adaptation)

    def stream(self, request: GenerateRequest, adaptation: Adaptation) -> Iterator[str]:
        """The text of one request in pieces, as it is generated; of several samples the first one.

        Between two pieces the backend is free: other requests run, under whatever adaptation, and
        an iterator that is closed or forgotten leaves nothing behind. Where transformers' own
        generation is in use (`LUTHIER_ENGINE=plain`, recurrent bases), the text is one piece.
        """
        from luthier.engine.generation.generate import uses_decode_loop
        from luthier.engine.generation.stream import TextStream

        with self.session(adaptation) as session, torch.inference_mode():
            stream = TextStream(session, request, adaptation) if uses_decode_loop(session) else None
        if stream is None:
            yield self.generate([request], adaptation)[0].text
            return
        while not stream.finished:
            with self.session(adaptation) as session, torch.inference_mode():
                piece = stream.step(session)
            if piece:
                yield piece

    def continuous(self) -> AbstractContextManager[ContinuousEngine] | None:
        """The engine of a server: see `luthier.engine.continuous`; None for a base whose layers
        take no masks, and where LUTHIER_ENGINE is "plain"."""
        if not uses_prefix_trees(Session(self._module, self.tokenizer)):
            return None
        return self._continuous_engine()

    @contextmanager
    def _continuous_engine(self) -> Iterator[ContinuousEngine]:
        with self.session(Adaptation()), torch.inference_mode():
            if self._engine is None:
                self._engine = ContinuousEngine(self._module, self.tokenizer)
            yield self._engine

    def token_text(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        return str(self.tokenizer.decode(list(ids)))

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """The log-probability of every token of each text: see `luthier.engine.text_scoring`."""
        from luthier.engine.text_scoring import text_logprobs

        with self.session(adaptation) as session, torch.inference_mode():
            return text_logprobs(session, texts)

    def pooled_states(
        self, prompts: Sequence[Rendered], adaptation: Adaptation, *, layers: Sequence[int]
    ) -> list[PooledStates]:
        """The states of some layers: see `luthier.engine.hidden_states`."""
        from luthier.engine.hidden_states import pooled_states

        with self.session(adaptation) as session, torch.inference_mode():
            return pooled_states(session, prompts, layers)

    def score_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float],
        continuations: Sequence[str], adaptation: Adaptation,
    ) -> ScoreResult:  # fmt: skip
        """Scores under a mixture of prompts: see `luthier.engine.mixture`."""
        from luthier.engine.mixture import score_mixture

        with self.session(adaptation) as session, torch.inference_mode():
            return score_mixture(session, prompts, weights, continuations)

    def generate_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float], adaptation: Adaptation
    ) -> Generated:
        """Greedy text under a mixture of prompts: see `luthier.engine.mixture`."""
        from luthier.engine.mixture import generate_mixture

        with self.session(adaptation) as session, torch.inference_mode():
            return generate_mixture(session, prompts, weights, adaptation.decoding)

    @property
    def precision(self) -> str:
        """The number format of matrix products, and how fast bfloat16 was where it was timed."""
        if self._module.device.type != "cpu" or self._module.dtype != torch.float32:
            return str(self._module.dtype).removeprefix("torch.")
        made = matmul_precision()
        speedup = made.bfloat16_speedup
        return made.format + ("" if speedup is None else f" (bfloat16 {speedup:g} times as fast)")

    def tokens_per_second(self) -> float:
        """Forward tokens a second, measured once: 16 rows of 64 tokens, the best of three."""
        if self._speed is None:
            module = self.module
            ids = torch.randint(0, self.facts.vocabulary or 100, (16, 64)).to(module.device)
            inputs: dict[str, Any] = {"input_ids": ids}
            if module.config.is_encoder_decoder:
                inputs["decoder_input_ids"] = ids[:, :1]
            else:
                inputs["logits_to_keep"] = 1
            best = float("inf")
            with torch.inference_mode(), autocast(module.device, module.dtype):
                module(**inputs)
                for _ in range(3):
                    start = time.perf_counter()
                    module(**inputs)
                    best = min(best, time.perf_counter() - start)
            self._speed = ids.numel() / best
        return self._speed

    def special_texts(self) -> tuple[str, ...]:
        """How the tokenizer's special tokens are written, longest first."""
        added = self.tokenizer.added_tokens_decoder.values()
        texts = {str(t) for t in added} | {str(t) for t in self.tokenizer.all_special_tokens}
        return tuple(sorted((t for t in texts if len(t) > 1 and t.strip()), key=len, reverse=True))

    def export_base(self, folder: Path) -> None:
        """Config and tokenizer of the base, so that a fork's folder opens as a model of its own."""
        self.module.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _inject(self, module: Any, adapter: Adapter) -> Any:
        """The PeftModel of an adapter, which stays in place."""
        found = self._injected
        if found is None or found.module is not module or found.adapter is not adapter:
            self._remove_adapter()
            found = InjectedAdapter(module, adapter, inject(module, adapter))
            self._injected = found
        return found.wrapped

    def _remove_adapter(self) -> None:
        if self._injected is not None:
            found, self._injected = self._injected, None
            remove(found.module, found.wrapped)

    def _forked(self, weights: Weights) -> Any:
        """A copy of the base with these weights, kept until others are wanted."""
        if self._fork is None or self._fork[0] is not weights:
            self._remove_adapter()
            self._fork = None
            module = copy.deepcopy(self.module)
            load_weights(module, weights)
            self._fork = (weights, module.eval().requires_grad_(False))
        return self._fork[1]
