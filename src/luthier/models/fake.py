"""A model without weights: public, deterministic, for tests of anything that talks to a model.

It "knows" only what stands in the prompt: a label is the more likely the more words the input
shares with the demonstrations of that label, and with the label's own name. So demonstrations help
it, as they help a real model, and it needs neither torch nor a download.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from luthier.content import ToolCall, Usage
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    ModelFacts,
    ScoreRequest,
    ScoreResult,
    TokenLogprobs,
)
from luthier.models.prompt import Rendered
from luthier.records import Capability

VOCABULARY = 1000  # words, for the log-probabilities of a text
Answer = str | ToolCall | tuple[ToolCall, ...]
Reply = Callable[[str], Answer] | Mapping[str, Answer] | None


@dataclass(eq=False)
class FakeBackend(Backend):
    """A backend whose answers are given beforehand, or read off the prompt's demonstrations.

    **Fields**

    - `reply`: answers generation, as a function of the prompt text or as a mapping from a substring
      of the prompt to the answer. An answer is a text, or one tool call or several.
    - `capabilities`: can be narrowed, to play an endpoint without log-probabilities, or widened by
      pictures, which it does not look at.
    """

    reply: Reply = None
    name: str = "fake"
    capabilities: frozenset[Capability] = frozenset({Capability.TEXT, Capability.LOGPROBS})
    facts: ModelFacts = field(
        default_factory=lambda: ModelFacts(
            parameters=0, body_parameters=0, context_length=4096, architecture="fake"
        )
    )

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> FakeBackend:
        """The fake under the name it was asked for."""
        return cls(name=name)

    def __post_init__(self) -> None:
        # A constant for one name: there are no weights.
        self.fingerprint = hashlib.sha256(f"fake:{self.name}".encode()).hexdigest()

    def count_tokens(self, text: str) -> int:
        """A token is a word."""
        return len(text.split())

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Log-softmax of the evidence for each continuation; greedy when there is any evidence."""
        if Capability.LOGPROBS not in self.capabilities:
            raise self.lacks(Capability.LOGPROBS)
        return [self._score(request) for request in requests]

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """The configured reply; without one, the answer of the nearest demonstration. All samples
        of a request are alike."""
        return [self._generate(r, r.decoding or adaptation.decoding) for r in requests]

    def stream(self, request: GenerateRequest, adaptation: Adaptation) -> Iterator[str]:
        """The text word by word."""
        yield from re.findall(r"\s*\S+", self.generate([request], adaptation)[0].text)

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """A token is a word: the likelier, the more often it stood in the text before."""
        if Capability.LOGPROBS not in self.capabilities:
            raise self.lacks(Capability.LOGPROBS)
        return [_word_logprobs(text) for text in texts]

    def _generate(self, request: GenerateRequest, decoding: Decoding) -> Generated:
        text = _flat(request.prompt)
        read = self.count_tokens(text)
        reply = self._reply(request.prompt, text)
        if not isinstance(reply, str):
            calls = (reply,) if isinstance(reply, ToolCall) else reply
            return Generated("", Usage(read, 0, read, 1), tool_calls=calls)
        for stop in decoding.stop:
            reply = reply.split(stop)[0]
        words = reply.split()
        cut = len(words) > decoding.max_new_tokens
        answer = " ".join(words[: decoding.max_new_tokens])
        written = request.samples * len(answer.split())
        others = (Generated(answer, Usage(), cut),) * (request.samples - 1)
        return Generated(answer, Usage(read, written, read + written, 1), cut, others)

    def _score(self, request: ScoreRequest) -> ScoreResult:
        demonstrations, query = _blocks(request.prompt)
        evidence = []
        for continuation in request.continuations:
            label = continuation.strip()
            shown = sum(
                _overlap(query, words) for words, target in demonstrations if target == label
            )
            evidence.append(4.0 * shown + 2.0 * _overlap(query, _words(label)))
        total = math.log(sum(math.exp(e) for e in evidence)) if evidence else 0.0
        best = max(range(len(evidence)), key=evidence.__getitem__) if evidence else -1
        tokens = self.count_tokens(_flat(request.prompt))
        return ScoreResult(
            logprobs=tuple(e - total for e in evidence),
            tokens=tuple(max(1, self.count_tokens(c)) for c in request.continuations),
            greedy=tuple(i == best and e > 0 for i, e in enumerate(evidence)),
            usage=Usage(tokens, 0, tokens, 1),
        )

    def _reply(self, prompt: Rendered, text: str) -> Answer:
        if callable(self.reply):
            return self.reply(text)
        if self.reply is not None:
            return next((a for key, a in self.reply.items() if key in text), "")
        demonstrations, query = _blocks(prompt)
        ranked = sorted(demonstrations, key=lambda shown: -_overlap(query, shown[0]))
        return ranked[0][1] if ranked else " ".join(query)


def _word_logprobs(text: str) -> TokenLogprobs:
    """Add-one estimates over `VOCABULARY` words from the words so far; none for the first."""
    tokens = re.findall(r"\s*\S+", text)
    words = [token.strip() for token in tokens]
    return TokenLogprobs(
        tuple(tokens),
        tuple(
            math.log((1 + words[:i].count(word)) / (VOCABULARY + i)) if i else None
            for i, word in enumerate(words)
        ),
    )


def _flat(prompt: Rendered) -> str:
    if prompt.messages:
        return "\n\n".join(f"{m.role}: {m.text}" for m in prompt.messages)
    return prompt.text


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _overlap(a: Sequence[str], b: Sequence[str]) -> float:
    left, right = set(a), set(b)
    return len(left & right) / math.sqrt(len(left) * len(right)) if left and right else 0.0


def _blocks(prompt: Rendered) -> tuple[list[tuple[list[str], str]], list[str]]:
    """Demonstrations as (words of the input, target), and the words of the query."""
    if prompt.messages:
        turns = [m for m in prompt.messages if m.role in ("user", "assistant")]
        pairs = list(zip(turns[:-1:2], turns[1::2], strict=False))
        shown = [(_words(u.text), a.text.strip()) for u, a in pairs]
        return shown, _words(turns[-1].text) if turns else []
    parts = [p for p in re.split(r"\n\s*\n", prompt.text) if p.strip()]
    shown = []
    for part in parts[:-1]:
        lines = [line for line in part.splitlines() if line.strip()]
        if len(lines) >= 2 and ":" in lines[-1]:
            target = lines[-1].split(":", 1)[1].strip()
            shown.append((_words(_value("\n".join(lines[:-1]))), target))
    query = "\n".join(parts[-1].splitlines()[:-1]) if parts else ""
    return shown, _words(_value(query))


def _value(block: str) -> str:
    return block.split(":", 1)[1] if ":" in block else block
