"""A backend: keyword rules that answer like a language model, to compare with what is in use today.

`--model keywords:rules.yaml`, where the file maps each label to the words that speak for it:

    delivery: [parcel, courier, tracking]
    billing: [invoice, charged, payment]
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from luthier import Adaptation, Backend, Capability, ModelError, ModelFacts, Usage
from luthier.models.backend import (
    Generated,
    GenerateRequest,
    ScoreRequest,
    ScoreResult,
    TokenLogprobs,
)
from luthier.models.prompt import Rendered

WEIGHT = 2.0  # log-odds that one keyword adds to its label
UNKNOWN = -20.0  # log-probability of a continuation that is no label of the rules


class KeywordBackend(Backend):
    """Answers with the label whose keywords occur most often in the input.

    Its log-probabilities are a softmax over the labels, two nats for each keyword found.
    """

    capabilities = frozenset({Capability.TEXT, Capability.LOGPROBS})
    facts = ModelFacts(parameters=0, body_parameters=0, architecture="keyword rules")

    def __init__(self, name: str, rules: Mapping[str, Sequence[str]]) -> None:
        self.name = name
        self.rules = {str(label): [str(w).lower() for w in words] for label, words in rules.items()}
        text = repr(sorted(self.rules.items()))
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()  # other rules, other base

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> KeywordBackend:
        """What Luthier calls for "keywords:PATH". Errors give the value and the next step."""
        path = Path(name.removeprefix("keywords:")).expanduser().resolve()
        try:
            rules = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ModelError(
                f"The rules {path} cannot be read: {error}",
                next_step="Write the model as keywords:PATH, with the path of a YAML file.",
            ) from error
        if not isinstance(rules, dict) or not all(isinstance(w, list) for w in rules.values()):
            raise ModelError(
                f"{path} does not map labels to lists of words",
                next_step="Write one line a label: `delivery: [parcel, courier]`.",
            )
        return cls(f"keywords:{path}", rules)

    def count_tokens(self, text: str) -> int:
        """A token is a word."""
        return len(text.split())

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """The likeliest label, cut to the allowed number of words."""
        answers = []
        for request in requests:
            decoding = request.decoding or adaptation.decoding
            logprobs = self._logprobs(request.prompt)
            best = max(logprobs, key=lambda label: logprobs[label])
            words = best.split()[: decoding.max_new_tokens]
            text = " ".join(words)
            read = self.count_tokens(_whole(request.prompt))
            written = len(words) * request.samples
            others = tuple(Generated(text, Usage()) for _ in range(request.samples - 1))
            usage = Usage(read, written, read + written, 1)
            answers.append(Generated(text, usage, cut=text != best, others=others))
        return answers

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """The log-probability of each continuation, which is mostly a label."""
        results = []
        for request in requests:
            logprobs = self._logprobs(request.prompt)
            asked = [continuation.strip() for continuation in request.continuations]
            best = max(logprobs, key=lambda label: logprobs[label])
            read = self.count_tokens(_whole(request.prompt))
            results.append(
                ScoreResult(
                    logprobs=tuple(logprobs.get(label, UNKNOWN) for label in asked),
                    tokens=tuple(max(1, self.count_tokens(label)) for label in asked),
                    greedy=tuple(label == best for label in asked),
                    usage=Usage(read, 0, read, 1),
                )
            )
        return results

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """Rules know nothing of running text: every word is as likely as any other."""
        found = []
        for text in texts:
            tokens = re.findall(r"\s*\S+", text)
            found.append(TokenLogprobs(tuple(tokens), (UNKNOWN,) * len(tokens)))
        return found

    def _logprobs(self, prompt: Rendered) -> dict[str, float]:
        words = re.findall(r"\w+", _query(prompt).lower())
        evidence = {
            label: WEIGHT * sum(words.count(keyword) for keyword in keywords)
            for label, keywords in self.rules.items()
        }
        total = math.log(sum(math.exp(value) for value in evidence.values()))
        return {label: value - total for label, value in evidence.items()}


def _query(prompt: Rendered) -> str:
    """What is asked now: the last turn, or the last block of a text, without instruction."""
    if prompt.messages:
        return prompt.messages[-1].text
    return prompt.text.rpartition("\n\n")[2]


def _whole(prompt: Rendered) -> str:
    return prompt.text or "\n".join(message.text for message in prompt.messages)
