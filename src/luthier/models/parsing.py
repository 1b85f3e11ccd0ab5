"""From what a backend returned to a response: the likeliest label, or the answer in a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import FinishReason, Response, Usage
from luthier.models.adaptation import Decoding
from luthier.models.backend import Generated, ScoreResult
from luthier.models.prompt import PromptFormat, label_text
from luthier.models.thoughts import without_thoughts

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
    if knowledge is not None and knowledge.form != "plain":
        from luthier.models.rag.citations import without_citations

        answered = without_citations(text)
    parsed: str | None
    if generated.tool_calls:
        parsed = None
    elif decoding.labels:
        parsed = parse_label(answered, decoding.labels, model.adaptation.prompt.format)
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
        usage=replace(
            generated.usage, thinking=int(ended == "thinking"), filtered=int(ended == "filtered")
        ),
        finish_reason="tool-calls" if generated.tool_calls else ended,
        tool_calls=generated.tool_calls,
    )


def parse_label(text: str, labels: Sequence[str], form: PromptFormat) -> str | None:
    """The label a generation names, None when it names none.

    Case, punctuation at the ends and `_`/`-`/space are not told apart. The first line counts; a
    label must be the whole of it or, for chatty models, stand in it alone. The longest match wins.
    """

    def plain(s: str) -> str:
        return " ".join(re.sub(r"[\W_]+", " ", s).casefold().split())

    first = plain(next((line for line in text.splitlines() if line.strip()), ""))
    names = {plain(label_text(label, form)): label for label in labels}
    names |= {plain(label): label for label in labels}
    if first in names:
        return names[first]
    found = [n for n in names if n and re.search(rf"(?<!\w){re.escape(n)}(?!\w)", first)]
    outer = [n for n in found if not any(n != m and n in m for m in found)]
    hits = {names[n] for n in outer}
    return hits.pop() if len(hits) == 1 else None


def voted(answers: Sequence[Response]) -> Response:
    """The answer of most samples, the earliest of equals (self-consistency, arXiv:2203.11171,
    section 2). Case, punctuation and spaces do not divide votes; what was not read has none."""
    if len(answers) == 1:
        return answers[0]
    keys = [None if a.parsed is None else _plain(a.parsed) or a.parsed for a in answers]
    counts = Counter(k for k in keys if k is not None)
    best = keys.index(counts.most_common(1)[0][0]) if counts else 0
    usage = sum((a.usage for a in answers), Usage())
    return replace(answers[best], usage=usage)


def _plain(text: str) -> str:
    """Case, signs at word ends and spaces evened out; the sign of a number and JSON stay."""
    words = (re.sub(r"^[^\w+\-{\[]+|[^\w}\]]+$", "", word) for word in text.casefold().split())
    return " ".join(word for word in words if word)
