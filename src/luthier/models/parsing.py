"""From what a backend returned to a response: the likeliest label, or the answer in a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import FinishReason, Response, Usage
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, ScoreResult
from luthier.models.label_likelihood import label_likelihood
from luthier.models.label_reading import parse_label
from luthier.models.prompt import label_text
from luthier.models.thoughts import without_thoughts
from luthier.models.tool_formats import call_format
from luthier.models.tool_prompt import format_name, tools_of
from luthier.scripts import without_signs

if TYPE_CHECKING:
    from luthier.models.model import Model


def from_scores(scored: ScoreResult, decoding: Decoding) -> Response:
    """The most likely label once each label's bias is subtracted."""
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
        label_scores=adjusted,
        usage=scored.usage,
    )


def read_response(model: Model, generated: Generated) -> Response:
    """The response in a generated text: the label it names, or the text less its citations and
    less what the model thought before it.

    Under a JSON schema only JSON is an answer, and the scorer says whether it holds to the schema;
    under a regex only a text that was not `cut` is. Tool calls come before an answer.
    """
    decoding, knowledge = model.adaptation.decoding, model.adaptation.knowledge
    thought = without_thoughts(generated.text.strip())
    text = answered = thought.text
    calls = generated.tool_calls
    tools = tools_of(model)
    if tools and not calls:
        found = call_format(format_name(model)).read(text, [tool.name for tool in tools])
        calls = found.calls
        text = answered = found.text if calls else text
    if knowledge is not None and knowledge.form != "plain":
        from luthier.models.rag.citations import without_citations

        answered = without_citations(text)
    parsed: str | None
    likely: dict[str, float] | None = None
    scores: dict[str, float] | None = None
    if calls:
        parsed = None
    elif decoding.labels:
        form = model.adaptation.prompt.format
        parsed = parse_label(answered, decoding.labels, form)
        texts = {label: label_text(label, form) for label in decoding.labels}
        if parsed is not None and generated.first_tokens:
            likely = label_likelihood(generated.first_tokens, texts)
        if likely is not None:
            bias = dict(decoding.label_bias)
            scores = {label: value - bias.get(label, 0.0) for label, value in likely.items()}
            parsed = max(scores, key=lambda label: scores[label]) if bias else parsed
    elif decoding.json_schema is not None:
        from luthier.models.json_reading import is_json

        parsed = answered if is_json(answered) else None
    elif decoding.regex is not None and generated.cut:
        parsed = None
    else:
        parsed = answered or None
    ended: FinishReason = "length" if generated.cut else "stop"
    ended = "thinking" if thought.unfinished else generated.lack or ended
    return Response(
        text,
        parsed,
        parsed is not None,
        label_logprobs=likely,
        label_scores=scores,
        usage=replace(
            generated.usage, thinking=int(ended == "thinking"), filtered=int(ended == "filtered")
        ),
        finish_reason="tool-calls" if calls else ended,
        tool_calls=calls,
    )


def voted(answers: Sequence[Response], *, labels: bool = False) -> Response:
    """The answer of most samples, the earliest of equals (self-consistency, arXiv:2203.11171,
    section 2). Case, punctuation and spaces do not divide votes, except between labels; what was
    not read has none."""
    if len(answers) == 1:
        return answers[0]
    key = str if labels else _vote_of
    keys = [None if a.parsed is None else key(a.parsed) or a.parsed for a in answers]
    counts = Counter(k for k in keys if k is not None)
    best = keys.index(counts.most_common(1)[0][0]) if counts else 0
    usage = sum((a.usage for a in answers), Usage())
    return replace(answers[best], usage=usage)


def _vote_of(text: str) -> str:
    """What two votes must share: their words, and all of a JSON text."""
    if text.lstrip()[:1] in ("{", "["):
        return " ".join(text.casefold().split())
    return without_signs(text)
