"""The backend of pictures: any text-to-image pipeline of diffusers, on this machine."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.content import Usage
from luthier.errors import CapabilityError
from luthier.images.adapted_pipeline import (
    PICTURE_SLOTS,
    PictureSession,
    applied,
    denoiser_name,
)
from luthier.images.drawing import Defaults, Drawing
from luthier.images.open_pipeline import open_pipeline
from luthier.images.painter import INERT, OWN_LOOP, Painter
from luthier.images.picture_files import keep_picture
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import Backend, Generated, GenerateRequest, ModelFacts
from luthier.models.prompt import Rendered
from luthier.records import Capability

TIMED_STEPS, TIMED_PICTURES = 8, 8


class PictureBackend(Backend):
    """Holds one pipeline; an answer is the path of a PNG.

    A token of an answer is one pass of the denoiser over one latent, so that budgets, which count
    tokens, count the work of drawing.

    **Attributes**

    - `painter`: draws with the base as it was loaded.
    - `folder`: where pictures are kept; None: beside the cache of responses.
    """

    weights_file = "diffusion_pytorch_model.safetensors"

    def __init__(
        self, pipeline: Any, *, name: str, defaults: Defaults | None = None,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.painter = Painter(pipeline, defaults=defaults)
        self.name = name
        self.folder = folder
        self.capabilities = frozenset({Capability.DRAWING})
        if _is_trainable(pipeline, self.painter):
            self.capabilities |= {Capability.DENOISING}
        self.fingerprint = _fingerprint(pipeline)
        self.facts = replace(_facts(pipeline), leads_away=self.painter.negatives)
        self._speed: float | None = None
        self._unheard = False  # whether a negative prompt was given that changes nothing
        self._cut = 0  # prompts that were longer than the text encoder reads
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: str, *, name: str, device: str = "auto") -> PictureBackend:
        """Load a folder that diffusers wrote, or a hub id; see `open_pipeline`."""
        pipeline, defaults = open_pipeline(path, name=name, device=device)
        return cls(pipeline, name=name, defaults=defaults)

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether a negative prompt was of no use, and whether the model filters what it draws."""
        notes: tuple[str, ...] = (INERT,) if self._unheard else ()
        if self._cut:
            notes += (
                f"{self._cut} prompts were longer than the {self.facts.context_length} tokens that "
                "the model reads: their ends were not read.",
            )
        if self.pipeline.components.get("safety_checker") is not None:
            notes += ("The model blackens pictures that its own filter takes for unsafe.",)
        return notes

    @property
    def precision(self) -> str:
        """The number format of the weights."""
        return self.facts.dtype or "float32"

    def count_tokens(self, text: str) -> int:
        """The tokens of a text, special ones left out."""
        return len(self.pipeline.tokenizer(text, add_special_tokens=False).input_ids)

    def answer_tokens(self, decoding: Decoding) -> int:
        """How often the denoiser goes over one picture."""
        return self.painter.passes_of(drawing_of(GenerateRequest(_NOTHING), decoding))

    def tokens_per_second(self) -> float:
        """Passes of the denoiser a second over a batch, with the rest of a drawing in it; measured
        once."""
        if self._speed is None:
            with self._lock:
                some = [Drawing("", seed=seed, steps=TIMED_STEPS) for seed in range(TIMED_PICTURES)]
                self.painter.draw(some[:1])
                before, start = self.painter.passes, time.perf_counter()
                self.painter.draw(some)
                seconds = time.perf_counter() - start
                self._speed = (self.painter.passes - before) / seconds
        return self._speed

    @contextmanager
    def adapted(self, adaptation: Adaptation) -> Iterator[Painter]:
        """A painter with an adaptation's weights in place; while it lasts, other threads wait.

        CapabilityError for slots that cannot be applied to a pipeline.
        """
        with self.session(adaptation):
            if adaptation.soft_prompt is None:
                yield self.painter
            else:  # its texts are read in another way
                yield Painter(self.pipeline, defaults=self.painter.defaults)

    @contextmanager
    def session(self, adaptation: Adaptation) -> Iterator[PictureSession]:
        """The pipeline with `adaptation` applied; while it lasts, other threads wait.

        CapabilityError for slots that cannot be applied to a pipeline.
        """
        beyond = set(adaptation.filled) - set(PICTURE_SLOTS)
        if beyond:
            raise CapabilityError(
                f"{self.name} cannot carry {', '.join(sorted(beyond))}",
                choices=PICTURE_SLOTS,
                next_step="Give it a prompt, a negative prompt and weights.",
            )
        with self._lock, applied(self.pipeline, adaptation) as session:
            yield session

    def export_base(self, folder: Path) -> None:
        """Write the denoiser's configuration, so that a fork opens with its class."""
        getattr(self.pipeline, denoiser_name(self.pipeline)).save_config(folder)

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """A picture for each sample of each request, all drawn together; the text is its path."""
        if not requests:
            return []
        drawings = []
        for request in requests:
            one = drawing_of(request, request.decoding or adaptation.decoding)
            drawings.append([_sample(one, k) for k in range(request.samples)])
        with self.adapted(adaptation) as painter:
            if any(d.negative for d in drawings[0]) and not painter.negatives:
                self._unheard = True
            pictures = iter(painter.draw([d for some in drawings for d in some]))
            answers = []
            for some in drawings:
                paths = [str(keep_picture(next(pictures), self.folder)) for _ in some]
                usage = self._usage(painter, some)
                others = tuple(Generated(path, Usage()) for path in paths[1:])
                answers.append(Generated(paths[0], usage, others=others))
            return answers

    def _usage(self, painter: Painter, drawings: Sequence[Drawing]) -> Usage:
        read = self.count_tokens(drawings[0].prompt)
        passes = sum(painter.passes_of(d) for d in drawings)
        limit = self.facts.context_length
        self._cut += limit is not None and read > limit - 2  # besides its beginning and its end
        return Usage(max(1, read), passes, passes, 1)


def drawing_of(request: GenerateRequest, decoding: Decoding) -> Drawing:
    """The drawing that a request asks for."""
    return Drawing(
        request.prompt.text or "\n".join(m.text for m in request.prompt.messages),
        negative="" if request.negative is None else request.negative.text,
        seed=request.seed,
        steps=decoding.steps,
        guidance_scale=decoding.guidance_scale,
        negative_from=decoding.negative_from,
        negative_until=decoding.negative_until,
    )


_NOTHING = Rendered("nothing")


def _sample(drawing: Drawing, k: int) -> Drawing:
    """The k-th sample of a drawing: the first has its own seed."""
    if k == 0:
        return drawing
    seed = int(hashlib.sha256(f"{drawing.seed}:{k}".encode()).hexdigest()[:8], 16)
    return replace(drawing, seed=seed)


def _modules(pipeline: Any) -> dict[str, Any]:
    """The networks of a pipeline by the names of their places."""
    import torch

    parts = sorted(pipeline.components.items())
    return {name: part for name, part in parts if isinstance(part, torch.nn.Module)}


def _is_trainable(pipeline: Any, painter: Painter) -> bool:
    """Whether the loss of its denoiser is computed here: it has a schedule of ᾱ, and its denoiser
    reads nothing but a latent, a time and the states of a text."""
    own = type(pipeline).__name__ in OWN_LOOP and not painter.distilled
    return own and getattr(pipeline.scheduler, "alphas_cumprod", None) is not None


def _fingerprint(pipeline: Any) -> str:
    """What identifies a base: the weights of its networks, its tokenizer and its schedule."""
    from luthier.engine.base_fingerprint import fingerprint_of

    digest = hashlib.sha256(type(pipeline).__name__.encode())
    for name, module in _modules(pipeline).items():
        tokenizer = pipeline.tokenizer if name == "text_encoder" else None
        digest.update(f"{name}:{fingerprint_of(module, tokenizer)}".encode())
    schedule = {k: str(v) for k, v in pipeline.scheduler.config.items() if not k.startswith("_")}
    digest.update(repr((type(pipeline.scheduler).__name__, sorted(schedule.items()))).encode())
    return digest.hexdigest()


def _facts(pipeline: Any) -> ModelFacts:
    modules = _modules(pipeline)
    denoiser = modules.get("unet") or modules["transformer"]
    limit = getattr(pipeline.tokenizer, "model_max_length", None)
    return ModelFacts(
        parameters=sum(p.numel() for m in modules.values() for p in m.parameters()),
        body_parameters=sum(p.numel() for p in denoiser.parameters()),
        context_length=limit if limit and limit < 100_000 else None,
        architecture=type(pipeline).__name__,
        device=str(denoiser.device),
        dtype=str(denoiser.dtype).removeprefix("torch."),
    )
