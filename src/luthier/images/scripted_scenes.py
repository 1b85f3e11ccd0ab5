"""A model that draws scenes by a script: public, deterministic, without weights, for tests.

It reads the request out of the prompt and draws a scene that meets it, all else by lot from the
seed. It errs as often as it is told to, and terms of the prompt change how often: planted truths,
for tests of anything that searches or measures prompts.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from luthier.content import Usage
from luthier.errors import CapabilityError
from luthier.images.drawing import Drawing, Pixels
from luthier.images.picture_files import keep_picture
from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import random_scene
from luthier.images.scenes.scene import COLOURS, Scene, Thing
from luthier.images.scenes.scene_request import Request, Wanted, parse_request
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import Backend, Generated, GenerateRequest, ModelFacts
from luthier.records import Capability

STEPS, GUIDANCE = 4, 2.0
TRIES = 40


@dataclass(eq=False)
class ScriptedScenes(Backend):
    """Draws by a script.

    **Fields**

    - `errors`: the share of pictures in which one shape has another colour than it should.
    - `terms`: what a term adds to that share where it stands in the prompt; a minus helps.
    - `avoided`: the same for terms of the negative prompt, where guidance is on.
    - `best_guidance`: the guidance scale with the fewest errors; each unit away adds 0.1.
    - `intruder`: a shape that stands in every second picture of an open request, unless the
      negative prompt names it.
    """

    errors: float = 0.2
    terms: Mapping[str, float] = field(default_factory=dict)
    avoided: Mapping[str, float] = field(default_factory=dict)
    best_guidance: float | None = None
    intruder: str | None = None
    name: str = "fake-scenes"
    folder: Path | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.DRAWING})
    facts: ModelFacts = field(
        default_factory=lambda: ModelFacts(
            parameters=0, body_parameters=0, context_length=77, architecture="scripted scenes"
        )
    )

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> ScriptedScenes:
        """The script under the name that it was asked for."""
        return cls(name=name)

    def __post_init__(self) -> None:
        # A constant for one script: there are no weights.
        script = (self.name, self.errors, sorted(self.terms.items()), sorted(self.avoided.items()))
        rest = (self.best_guidance, self.intruder)
        self.fingerprint = hashlib.sha256(repr((script, rest)).encode()).hexdigest()

    def count_tokens(self, text: str) -> int:
        """A token is a word."""
        return len(text.split())

    def answer_tokens(self, decoding: Decoding) -> int:
        """As many passes as a denoiser would take."""
        return 2 * (decoding.steps or STEPS)

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """A picture for each sample; the text is its path."""
        beyond = set(adaptation.filled) - {"prompt", "decoding"}
        if beyond:
            raise CapabilityError(f"{self.name} cannot carry {', '.join(sorted(beyond))}")
        answers = []
        for request in requests:
            decoding = request.decoding or adaptation.decoding
            negative = "" if request.negative is None else request.negative.text
            paths = []
            for k in range(request.samples):
                one = Drawing(
                    request.prompt.text, negative, request.seed + 7919 * k,
                    guidance_scale=decoding.guidance_scale,
                )  # fmt: skip
                paths.append(str(keep_picture(self.picture(one), self.folder)))
            read, passes = max(1, self.count_tokens(request.prompt.text)), len(paths)
            passes *= self.answer_tokens(decoding)
            usage = Usage(read, passes, passes, 1)
            others = tuple(Generated(path, Usage()) for path in paths[1:])
            answers.append(Generated(paths[0], usage, others=others))
        return answers

    def picture(self, drawing: Drawing) -> Pixels:
        """The picture of one drawing."""
        return draw_scene(self.scene(drawing))

    def scene(self, drawing: Drawing) -> Scene:
        """What is drawn: the same for one seed and request but for the planted errors."""
        prompt, negative = drawing.prompt.lower(), drawing.negative.lower()
        guidance = GUIDANCE if drawing.guidance_scale is None else drawing.guidance_scale
        request = _read(prompt)
        draw = random.Random(f"{drawing.seed}:{request.words}")
        scene = _without(negative if guidance != 1.0 else "", request, draw)
        rate = self.errors + sum(v for term, v in self.terms.items() if term in prompt)
        if guidance != 1.0:
            rate += sum(v for term, v in self.avoided.items() if term in negative)
        if self.best_guidance is not None:
            rate += 0.1 * abs(guidance - self.best_guidance)
        lot = random.Random(f"{drawing.seed}:error")
        if lot.random() < rate and scene.things:
            scene = replace(scene, things=(_recoloured(scene.things[0]), *scene.things[1:]))
        if self.intruder and self.intruder not in negative and lot.random() < 0.5:
            seen = random_scene(replace(request, open=False), draw)
            more = Request((*request.wanted, Wanted(self.intruder)), background=scene.background)
            scene = random_scene(more, draw) or seen or scene
        return scene


def _read(prompt: str) -> Request:
    try:
        return parse_request(prompt)
    except ValueError:
        return Request(open=True)


def _without(negative: str, request: Request, draw: random.Random) -> Scene:
    """A scene that meets the request and, where that can be, shows nothing that it must not."""
    words = set(negative.replace(",", " ").split())
    scene = Scene(())
    for _ in range(TRIES):
        found = random_scene(request, draw)
        if found is None:
            continue
        scene = found
        if not any({t.shape, t.colour, t.texture} & words for t in scene.things):
            break
    return scene


def _recoloured(thing: Thing) -> Thing:
    names = list(COLOURS)
    return replace(thing, colour=names[(names.index(thing.colour) + 3) % len(names)])
