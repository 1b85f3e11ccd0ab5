"""From a model and inputs to responses: render, then score labels or generate text.

A head answers by itself (`head_answers`). With labels and a backend that gives log-probabilities
the prediction is argmax_y log p(y | prompt) − bias(y); elsewhere text is generated and read
(`parsing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Input, Response, has_images, question_of, single_text
from luthier.errors import CapabilityError
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.cut_calls import without_cut_calls
from luthier.models.drawing_prompt import drawing_requests, draws, render_drawings
from luthier.models.head_answers import answer_by_head
from luthier.models.nearest import NearestDemonstrations
from luthier.models.parsing import from_scores, read_response, voted
from luthier.models.pieces import stripped
from luthier.models.prompt import Demonstration, Prompt, Rendered, label_text, render
from luthier.models.thinking import answer_after_thought, thinking_requests
from luthier.models.thoughts import pieces_without_thoughts
from luthier.models.tool_prompt import reads_turns, tools_of, with_tools, with_tools_listed
from luthier.records import Capability, Example

if TYPE_CHECKING:
    from luthier.models.model import Model


def wants_chat(model: Model, prompt: Prompt) -> bool:
    """Whether a single question under this prompt goes through the chat template of this model."""
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
    if draws(model):
        return render_drawings(model, examples)
    prompt = model.adaptation.prompt
    knowledge = model.adaptation.knowledge
    if knowledge is not None:
        from luthier.models.rag import with_citation_request, with_passages

        prompt = with_citation_request(prompt, knowledge)
        examples = with_passages(model, examples)
    return render_shown(model, prompt, examples, leave_self_out=leave_self_out)


def render_shown(
    model: Model, prompt: Prompt, examples: Sequence[Example], *, leave_self_out: bool = False
) -> list[Rendered]:
    """The same for a prompt and examples that have their passages already.

    CapabilityError for a picture where the backend reads text only.
    """
    tools = tools_of(model)
    chat = wants_chat(model, prompt) or (bool(tools) and reads_turns(model, prompt))
    prompt = with_tools_listed(model, prompt)
    demonstrations = _demonstrations(model, prompt, examples, leave_self_out=leave_self_out)
    rendered = []
    for example, shown in zip(examples, demonstrations, strict=True):
        text, passage = single_text(example.input), example.context
        if text is None:
            one = _render_turns(model, prompt, example.input, passage=passage, shown=shown)
        else:
            one = render(prompt, text, passage=passage, demonstrations=shown, chat=chat)
        rendered.append(one)
    return with_tools(model, rendered)


def _demonstrations(
    model: Model, prompt: Prompt, examples: Sequence[Example], *, leave_self_out: bool
) -> list[tuple[Demonstration, ...]]:
    """What each example is shown: all demonstrations, or those nearest to its question."""
    pool = prompt.demonstrations
    chosen = [pool] * len(examples)
    if prompt.selection == "knn" and pool:
        chosen = NearestDemonstrations(pool).nearest(
            [question_of(e.input) for e in examples], prompt.shots, leave_self_out=leave_self_out
        )
    elif leave_self_out and pool:
        questions = [question_of(e.input) for e in examples]
        chosen = [tuple(d for d in pool if d.input != question) for question in questions]
    knowledge = model.adaptation.knowledge
    if knowledge is not None and knowledge.shown_passages:
        from luthier.models.rag.passages import shown_with_passage

        chosen = [tuple(shown_with_passage(model, d) for d in shown) for shown in chosen]
    if not tools_of(model):  # without tools there is no way to an answer but the answer
        chosen = [tuple(replace(d, steps=()) for d in shown) for shown in chosen]
    return chosen


def _render_turns(
    model: Model, prompt: Prompt, content: Input, *,
    passage: str | None, shown: tuple[Demonstration, ...],
) -> Rendered:  # fmt: skip
    """Several turns, or a picture: through the chat template of any base that has one, unless the
    prompt's format is "plain"."""
    from luthier.models.turns import render_turns

    pictures = has_images(content)
    if pictures and Capability.IMAGES not in model.capabilities:
        raise CapabilityError(
            f"{model.backend.name} reads text only, and the input holds a picture",
            next_step="Ask a model that reads pictures, or say in words what the picture shows.",
        )
    style = prompt.format.style
    chat = wants_chat(model, prompt) or pictures
    chat = chat or (
        style == "auto" and model.backend.facts.has_chat_template and not tools_of(model)
    )
    return render_turns(prompt, content, passage=passage, demonstrations=shown, chat=chat)


def answer(model: Model, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
    """One response for each example, in order. A model that has tools calls them on the way."""
    if not examples:
        return []
    if draws(model):
        return _generated(model, drawing_requests(model, examples, seed=seed))
    use = model.adaptation.tools
    if use is not None and use.addresses and model.adaptation.head is None:
        from luthier.models.tool_loop import answer_with_own_tools

        return answer_with_own_tools(model, examples, seed=seed)
    knowledge = model.adaptation.knowledge
    if model.adaptation.head is not None:
        return answer_by_head(model, render_for(model, examples))
    if model.adaptation.decoding.thinking_tokens:
        return _answer_after_thought(model, examples, seed=seed)
    if knowledge is not None and knowledge.reading != "joined":
        from luthier.models.rag.marginal import answer_marginally

        return answer_marginally(model, examples, seed=seed)
    if scores_labels(model):
        return _answer_prompts(model, render_for(model, examples))
    model, requests = _generate_requests(model, examples, seed=seed)
    return _generated(model, requests)


def _answer_prompts(model: Model, prompts: Sequence[Rendered], *, seed: int = 0) -> list[Response]:
    """The same for prompts that are written out: labels are scored, text is generated."""
    if not scores_labels(model):
        votes = model.adaptation.decoding.votes
        return _generated(model, [GenerateRequest(prompt, seed, votes) for prompt in prompts])
    scored = model.backend.score(label_requests(model, prompts), model.adaptation)
    return [from_scores(s, model.adaptation.decoding) for s in scored]


def _generated(model: Model, requests: Sequence[GenerateRequest]) -> list[Response]:
    """Texts, read; a server whose first dozen are of no use is not asked for more."""
    watch, responses = model.backend.watch, list[Response]()
    decoding = model.adaptation.decoding
    while len(responses) < len(requests):
        patience = None if watch is None else watch.patience
        some = requests[len(responses) :][:patience]
        new = [
            voted(
                [read_response(model, sample) for sample in (generated, *generated.others)],
                labels=bool(decoding.labels),
            )
            for generated in model.backend.generate(some, model.adaptation)
        ]
        new = without_cut_calls(model, some, new)
        if watch is not None:
            limit = (some[0].decoding or decoding).max_new_tokens
            watch.look_at(model.backend.name, new, limit=limit)
        responses += new
    return responses


def _answer_after_thought(
    model: Model, examples: Sequence[Example], *, seed: int
) -> list[Response]:
    knowledge = model.adaptation.knowledge
    if knowledge is not None and knowledge.reading != "joined":
        raise CapabilityError(
            "A thought reads all passages together, and this model reads each by itself",
            next_step="Use rag(reading='joined') before reasoning.",
        )
    prompts = render_for(model, examples)
    if model.adaptation.decoding.own_thoughts and model.backend.facts.remote:
        return _generated(model, thinking_requests(model, prompts, seed=seed))
    return answer_after_thought(model, prompts, _answer_prompts, seed=seed)


def stream(model: Model, example: Example, *, seed: int = 0) -> Iterator[str]:
    """The text of one response in pieces, whose join is the `text` that `answer` returns.

    It is one piece where no part of an answer is known before all of it: labels that are scored,
    votes, passages that are read apart, and an answer after a thought.
    """
    if draws(model):
        yield answer(model, [example], seed=seed)[0].text
        return
    decoding, knowledge = model.adaptation.decoding, model.adaptation.knowledge
    apart = knowledge is not None and knowledge.reading != "joined"
    by_head = model.adaptation.head is not None
    apart = apart or bool(decoding.thinking_tokens) or bool(tools_of(model))
    if apart or by_head or decoding.votes > 1 or scores_labels(model):
        yield answer(model, [example], seed=seed)[0].text
        return
    model, (request,) = _generate_requests(model, [example], seed=seed)
    pieces = model.backend.stream(request, model.adaptation)
    yield from stripped(pieces_without_thoughts(pieces))


def scores_labels(model: Model) -> bool:
    """Whether answers are labels that are scored, not text that is generated.

    CapabilityError where guidance is asked for as well.
    """
    decoding = model.adaptation.decoding
    if decoding.labels and decoding.guidance != 1.0:
        raise CapabilityError(
            f"guidance_scale is {decoding.guidance:g} where labels are scored",
            next_step="Guidance is for free text: set it to 1, or leave the labels out.",
        )
    can_score = Capability.LOGPROBS in model.capabilities and not tools_of(model)
    return bool(decoding.labels) and decoding.votes == 1 and can_score


def _generate_requests(
    model: Model, examples: Sequence[Example], *, seed: int
) -> tuple[Model, list[GenerateRequest]]:
    """The model and what to ask of it: guidance takes the `negative` part out of its prompt."""
    decoding, negatives = model.adaptation.decoding, []
    if decoding.guidance != 1.0:
        own = model.adaptation.prompt
        negatives = render_for(model.adapt(prompt=negative_of(own)), examples)
        model = model.adapt(prompt=replace(own, negative=""))
    prompts = render_for(model, examples)
    return model, [
        GenerateRequest(p, seed, decoding.votes, negatives[i] if negatives else None)
        for i, p in enumerate(prompts)
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


def label_continuations(model: Model, prompt: Rendered) -> tuple[str, ...]:
    """The text of each label as it would follow this prompt."""
    form = model.adaptation.prompt.format
    return tuple(
        prompt.answer_prefix + label_text(label, form) for label in model.adaptation.decoding.labels
    )


def label_requests(model: Model, prompts: Sequence[Rendered]) -> list[ScoreRequest]:
    """For each prompt the request to score every label after it."""
    # Prompts of one model differ in what stands before an answer by their form alone.
    known: dict[str, tuple[str, ...]] = {}
    requests = []
    for prompt in prompts:
        if prompt.answer_prefix not in known:
            known[prompt.answer_prefix] = label_continuations(model, prompt)
        requests.append(ScoreRequest(prompt, known[prompt.answer_prefix]))
    return requests
