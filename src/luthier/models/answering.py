"""From a model and inputs to answers: render, score or generate, parse.

With labels and a backend that gives log-probabilities the prediction is
argmax_y log p(y | prompt) − bias(y); elsewhere text is generated and read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Response, Usage
from luthier.errors import CapabilityError
from luthier.models.adaptation import Decoding
from luthier.models.backend import GenerateRequest, ScoreRequest, ScoreResult
from luthier.models.nearest import NearestDemonstrations
from luthier.models.prompt import Demonstration, Prompt, PromptFormat, Rendered, label_text, render
from luthier.records import Capability, Example

if TYPE_CHECKING:
    from luthier.models.model import Model


def wants_chat(model: Model, prompt: Prompt) -> bool:
    """Whether this prompt goes through the chat template of this model."""
    style = prompt.format.style
    return model.backend.facts.prefers_chat if style == "auto" else style == "chat"


def render_for(
    model: Model, examples: Sequence[Example], *, leave_self_out: bool = False
) -> list[Rendered]:
    """The prompts these examples lead to, demonstrations chosen, targets unread.

    `leave_self_out` keeps an example out of its own demonstrations: for training, where it would
    teach the model to copy. Where the model has knowledge, what is found for each input is its
    passage.
    """
    prompt = model.adaptation.prompt
    knowledge = model.adaptation.knowledge
    if knowledge is not None:
        from luthier.models.rag import with_citation_request, with_passages

        prompt, examples = with_citation_request(prompt, knowledge), with_passages(model, examples)
    return render_shown(model, prompt, examples, leave_self_out=leave_self_out)


def render_shown(
    model: Model, prompt: Prompt, examples: Sequence[Example], *, leave_self_out: bool = False
) -> list[Rendered]:
    """The same for a prompt and examples that have their passages already."""
    chat = wants_chat(model, prompt)
    chosen: Sequence[tuple[Demonstration, ...] | None] = [None] * len(examples)
    if prompt.selection == "knn" and prompt.demonstrations:
        pool = NearestDemonstrations(prompt.demonstrations)
        chosen = pool.nearest(
            [e.text for e in examples], prompt.shots, leave_self_out=leave_self_out
        )
    elif leave_self_out and prompt.demonstrations:
        chosen = [tuple(d for d in prompt.demonstrations if d.input != e.text) for e in examples]
    knowledge = model.adaptation.knowledge
    if knowledge is not None and knowledge.shown_passages:
        from luthier.models.rag.passages import shown_with_passage

        chosen = [
            tuple(shown_with_passage(model, s) for s in (prompt.demonstrations if d is None else d))
            for d in chosen
        ]
    return [
        render(prompt, e.text, passage=e.context, demonstrations=d, chat=chat)
        for e, d in zip(examples, chosen, strict=True)
    ]


def answer(model: Model, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
    """One answer for each example, in order."""
    if not examples:
        return []
    decoding = model.adaptation.decoding
    negatives: list[Rendered] = []
    knowledge = model.adaptation.knowledge
    if knowledge is not None and knowledge.reading != "joined":
        from luthier.models.rag.marginal import answer_marginally

        return answer_marginally(model, examples, seed=seed)
    if decoding.guidance_scale != 1.0:
        if decoding.labels:
            raise CapabilityError(
                f"guidance_scale is {decoding.guidance_scale:g} where labels are scored",
                next_step="Guidance is for free text: set it to 1, or leave the labels out.",
            )
        # What is to be avoided is said by the guidance, not in the prompt.
        own = model.adaptation.prompt
        negatives = render_for(model.adapt(prompt=negative_of(own)), examples)
        model = model.adapt(prompt=replace(own, negative=""))
    prompts = render_for(model, examples)
    if decoding.labels and decoding.votes == 1 and Capability.LOGPROBS in model.capabilities:
        continuations = label_continuations(model, prompts[0])
        scored = model.backend.score(
            [ScoreRequest(p, continuations) for p in prompts], model.adaptation
        )
        return [from_scores(s, decoding) for s in scored]
    requests = [
        GenerateRequest(p, seed, decoding.votes, negatives[i] if negatives else None)
        for i, p in enumerate(prompts)
    ]
    generated = model.backend.generate(requests, model.adaptation)
    return [
        voted([read_text(model, s.text.strip(), s.usage, cut=s.cut) for s in (g, *g.others)])
        for g in generated
    ]


def negative_of(prompt: Prompt) -> Prompt:
    """The prompt that guidance leads away from: its `negative` part for an instruction, the same
    input and format, and nothing else that speaks for the answer."""
    return replace(
        prompt,
        instruction=prompt.negative,
        context="",
        objective="",
        negative="",
        labels=(),
        label_descriptions=(),
        demonstrations=(),
    )


def voted(answers: Sequence[Response]) -> Response:
    """The answer that most agree on, the earliest of equals (self-consistency, arXiv:2203.11171,
    section 2). Case, punctuation and spaces do not divide votes; what was not read has none."""
    if len(answers) == 1:
        return answers[0]
    keys = [None if a.parsed is None else _plain(a.parsed) or a.parsed for a in answers]
    counts = Counter(k for k in keys if k is not None)
    best = keys.index(counts.most_common(1)[0][0]) if counts else 0
    usage = sum((a.usage for a in answers), Usage())
    return replace(answers[best], usage=usage)


def read_text(model: Model, text: str, usage: Usage, *, cut: bool = False) -> Response:
    """The answer in a generated text: the label it names, or the text less its citations.

    Under a JSON schema only JSON is an answer, and the scorer says whether it holds; under a regex
    only a text that was not `cut` is.
    """
    decoding, knowledge = model.adaptation.decoding, model.adaptation.knowledge
    said = text
    if knowledge is not None and knowledge.form != "plain":
        from luthier.models.rag.citations import without_citations

        said = without_citations(text)
    if decoding.labels:
        parsed = parse_label(said, decoding.labels, model.adaptation.prompt.format)
    elif decoding.json_schema is not None:
        from luthier.models.json_reading import is_json

        parsed = said if is_json(said) else None
    elif decoding.regex is not None and cut:
        parsed = None
    else:
        parsed = said or None
    return Response(text, parsed, parsed is not None, usage=usage)


def _plain(text: str) -> str:
    """Case, signs at word ends and spaces evened out; the sign of a number and JSON stay."""
    words = (re.sub(r"^[^\w+\-{\[]+|[^\w}\]]+$", "", word) for word in text.casefold().split())
    return " ".join(word for word in words if word)


def label_continuations(model: Model, prompt: Rendered) -> tuple[str, ...]:
    """The text of each label as it would follow this prompt."""
    form = model.adaptation.prompt.format
    return tuple(
        prompt.answer_prefix + label_text(label, form) for label in model.adaptation.decoding.labels
    )


def parse_label(text: str, labels: Sequence[str], form: PromptFormat) -> str | None:
    """The label a generation names, None when it names none.

    Case, punctuation at the ends and `_`/`-`/space are not told apart. The first line counts; a
    label must be the whole of it or, for chatty models, stand in it alone. The longest match wins.
    """

    def plain(s: str) -> str:
        return " ".join(re.sub(r"[\W_]+", " ", s).casefold().split())

    first = next((line for line in text.splitlines() if line.strip()), "")
    said = plain(first)
    names = {plain(label_text(label, form)): label for label in labels}
    names |= {plain(label): label for label in labels}
    if said in names:
        return names[said]
    found = [n for n in names if n and re.search(rf"(?<!\w){re.escape(n)}(?!\w)", said)]
    outer = [n for n in found if not any(n != m and n in m for m in found)]
    hits = {names[n] for n in outer}
    return hits.pop() if len(hits) == 1 else None


def from_scores(scored: ScoreResult, decoding: Decoding) -> Response:
    """The most likely label, each less its bias."""
    bias = dict(decoding.label_bias)
    adjusted = {}
    for label, logprob, tokens in zip(decoding.labels, scored.logprobs, scored.tokens, strict=True):
        value = logprob / max(tokens, 1) if decoding.length_normalised else logprob
        adjusted[label] = value - bias.get(label, 0.0)
    best = max(adjusted, key=lambda label: adjusted[label])
    return Response(
        text=best,
        parsed=best,
        parseable=any(scored.greedy),
        label_logprobs=dict(zip(decoding.labels, scored.logprobs, strict=True)),
        usage=scored.usage,
    )
