"""The endpoint backend: any server that speaks the OpenAI API.

Text comes from /chat/completions. Log-probabilities come from /completions with `echo`, which vLLM,
llama.cpp and others give and hosted chat services mostly do not; one small call at the start finds
out. Needs `pip install luthier[endpoint]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from luthier.content import Usage
from luthier.errors import BackendError, CapabilityError, ModelError
from luthier.ledger.cache import ResponseCache, response_key
from luthier.models.adaptation import Adaptation, Decoding
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

AT_ONCE = 8
_CACHE_LOCK = threading.Lock()
A = TypeVar("A")
B = TypeVar("B")


@dataclass(eq=False)
class EndpointBackend(Backend):
    """One model on one server. Adaptations may fill the prompt and decoding slots only."""

    url: str
    model: str
    client: Any
    capabilities: frozenset[Capability]
    facts: ModelFacts = field(
        default_factory=lambda: ModelFacts(has_chat_template=True, prefers_chat=True, remote=True)
    )
    cache: ResponseCache | None = None

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> EndpointBackend:
        """Open "http://host:port/v1#model". The key comes from LUTHIER_API_KEY or OPENAI_API_KEY.

        The server chooses its own device.

        Raises ModelError when no model is named and the server lists several, BackendError when it
        cannot be reached.
        """
        try:
            import openai
        except ImportError as error:
            raise ModelError(
                "An endpoint needs the openai client, which is not installed",
                next_step="pip install 'luthier[endpoint]'",
            ) from error
        url, _, model = name.partition("#")
        key = os.environ.get("LUTHIER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        client = openai.OpenAI(base_url=url, api_key=key, max_retries=3, timeout=120.0)
        if not model:
            names = _call(url, lambda: [m.id for m in client.models.list()])
            if len(names) != 1:
                raise ModelError(
                    f"{url} serves {len(names)} models, and none was named",
                    choices=names[:20],
                    next_step=f"Name one after a #: {url}#{names[0] if names else 'model'}",
                )
            model = names[0]
        capabilities = {Capability.TEXT}
        if _echoes(client, model, url):
            capabilities.add(Capability.LOGPROBS)
        else:  # before anything is planned: does it answer at all?
            _call(url, lambda: _hello(client, model).choices[0].message.content)
        # Opt-in: a cached answer costs nothing and takes no time, which would spoil measured
        # latency.
        path = os.environ.get("LUTHIER_RESPONSE_CACHE")
        cache = ResponseCache(path) if path else None
        return cls(url, model, client, frozenset(capabilities), cache=cache)

    def __post_init__(self) -> None:
        self.name = f"{self.url}#{self.model}"
        # Nobody here can know which weights stand behind an address.
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()

    def count_tokens(self, text: str) -> int:
        """An estimate, four characters a token; exact counts come back with every answer."""
        return max(1, len(text) // 4)

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Chat completions, several under way at once, in the order of the requests."""
        self._check(adaptation)
        return _parallel(lambda r: self._generate(r, adaptation), requests)

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Echoed completions; CapabilityError where the server does not give them."""
        self._check(adaptation)
        if Capability.LOGPROBS not in self.capabilities:
            raise CapabilityError(
                f"{self.name} does not give log-probabilities",
                next_step="Generate text instead, or use a server with /completions and echo.",
            )
        return _parallel(self._score, requests)

    def _generate(self, request: GenerateRequest, adaptation: Adaptation) -> Generated:
        decoding = request.decoding or adaptation.decoding
        self._check_decoding(decoding)
        messages = [{"role": m.role, "content": m.text} for m in request.prompt.messages]
        messages = messages or [{"role": "user", "content": request.prompt.text}]
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": request.seed,
        }
        # Chat answers may begin with a line end; a stop at it would leave nothing.
        stops = [s for s in decoding.stop if s.strip() and decoding.json_schema is None]
        if stops:
            asked["stop"] = stops
        if decoding.json_schema is not None:
            schema = {"name": "answer", "schema": json.loads(str(decoding.json_schema))}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.samples > 1:
            asked["n"] = request.samples

        def answer() -> dict[str, Any]:
            reply = self.client.chat.completions.create(**asked)
            usage = reply.usage
            return {
                "texts": [choice.message.content or "" for choice in reply.choices],
                "cut": [choice.finish_reason == "length" for choice in reply.choices],
                "prompt_tokens": usage.prompt_tokens if usage else 0,
                "generated_tokens": usage.completion_tokens if usage else 0,
            }

        found = self._cached("chat", asked, request.seed, answer)
        n, m = int(found["prompt_tokens"]), int(found["generated_tokens"])
        said = []
        for text in found.get("texts") or [found["text"]]:  # one text: an older cache
            text = str(text).strip()
            for stop in () if decoding.json_schema is not None else decoding.stop:
                text = text.split(stop)[0]
            said.append(text.strip())
        cut = found.get("cut") or [False] * len(said)
        others = [Generated(t, Usage(), c) for t, c in zip(said[1:], cut[1:], strict=True)]
        return Generated(said[0], Usage(n, m, n + m, 1), cut[0], tuple(others))

    def _score(self, request: ScoreRequest) -> ScoreResult:
        head = _plain(request.prompt)
        logprobs, counts, greedy, prompt_tokens, computed = [], [], [], 0, 0
        for continuation in request.continuations:
            asked = {
                "model": self.model,
                "prompt": head + continuation,
                "max_tokens": 1,
                "echo": True,
                "logprobs": 1,
                "temperature": 0.0,
            }

            def answer(asked: dict[str, Any] = asked) -> dict[str, Any]:
                found = self.client.completions.create(**asked).choices[0].logprobs
                return {
                    "offsets": list(found.text_offset),
                    "logprobs": list(found.token_logprobs),
                    "tokens": list(found.tokens),
                    "top": [dict(t) if t else {} for t in found.top_logprobs or []],
                }

            reply = self._cached("echo", asked, 0, answer)
            end = len(head) + len(continuation)
            # The first token that reaches past the prompt may have merged with its end.
            inside = [
                i
                for i, (offset, token) in enumerate(
                    zip(reply["offsets"], reply["tokens"], strict=True)
                )
                if offset + len(token) > len(head) and offset < end
            ]
            values = [reply["logprobs"][i] for i in inside]
            logprobs.append(float(sum(v for v in values if v is not None)))
            counts.append(len(inside))
            greedy.append(
                bool(inside)
                and all(
                    i < len(reply["top"])
                    and max(reply["top"][i], key=reply["top"][i].__getitem__, default=None)
                    == reply["tokens"][i]
                    for i in inside
                )
            )
            prompt_tokens = inside[0] if inside else 0
            computed += len(reply["tokens"])
        usage = Usage(prompt_tokens, 0, computed, len(request.continuations))
        return ScoreResult(tuple(logprobs), tuple(counts), tuple(greedy), usage)

    def _cached(
        self, kind: str, asked: dict[str, Any], seed: int, answer: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        if self.cache is None:
            return _call(self.url, answer)
        key = response_key(model=self.name, prompt=asked, decoding=kind, seed=seed)
        with _CACHE_LOCK:
            kept = self.cache.get(key)
        if kept is not None:
            return dict(json.loads(kept))
        found = _call(self.url, answer)
        with _CACHE_LOCK:
            self.cache.put(key, json.dumps(found))
        return found

    def _check_decoding(self, decoding: Decoding) -> None:
        beyond = []
        if decoding.regex is not None:
            beyond.append("regex")
        if decoding.guidance_scale != 1.0:
            beyond.append("guidance_scale")
        if beyond:
            raise CapabilityError(
                f"{self.name} cannot follow {' and '.join(beyond)}: the API has no such setting",
                next_step="Open the same weights locally.",
            )

    def _check(self, adaptation: Adaptation) -> None:
        beyond = set(adaptation.filled) - {"prompt", "decoding"}
        if beyond:
            raise CapabilityError(
                f"{self.name} cannot carry {', '.join(sorted(beyond))}: it is a server of text",
                next_step="Open the same weights locally.",
            )


def _plain(prompt: Rendered) -> str:
    """Messages as plain text, for /completions applies no chat template."""
    if not prompt.messages:
        return prompt.text
    turns = [f"{m.role.capitalize()}: {m.text}" for m in prompt.messages]
    return "\n\n".join([*turns, "Assistant: "])


def _echoes(client: Any, model: str, url: str) -> bool:
    """Whether /completions echoes log-probabilities; any refusal means no."""
    import openai

    try:
        reply = client.completions.create(
            model=model, prompt="one two", max_tokens=1, echo=True, logprobs=1, temperature=0.0
        )
        found = reply.choices[0].logprobs
        return bool(found and found.token_logprobs and found.text_offset)
    except openai.APIConnectionError as error:
        raise _unreachable(url, error) from error
    except openai.AuthenticationError as error:
        raise _unreachable(url, error) from error
    except (openai.APIError, *_NO_API):
        return False


def _hello(client: Any, model: str) -> Any:
    """The shortest chat there is."""
    messages = [{"role": "user", "content": "Hello"}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=1)


def _call(url: str, answer: Callable[[], A]) -> A:
    import openai

    try:
        return answer()
    except openai.APIError as error:
        raise _unreachable(url, error) from error
    except _NO_API as error:
        raise _no_api(url, error) from error


# What the client, or whoever reads its reply, raises where a reply is not of the API's form.
_NO_API = (ValueError, AttributeError, IndexError, KeyError, TypeError)


def _no_api(url: str, error: Exception) -> BackendError:
    return BackendError(
        f"{url} answered with something that is no reply of the OpenAI API "
        f"({type(error).__name__}: {error})",
        next_step="Is the address that of the API? It mostly ends in /v1.",
    )


def _unreachable(url: str, error: Exception) -> BackendError:
    steps = {
        401: "Set LUTHIER_API_KEY to a key the server takes.",
        403: "Set LUTHIER_API_KEY to a key that may use this model.",
        404: "Is the address right (it mostly ends in /v1), and the name of the model after the #?",
        429: "The server wants fewer requests: wait, and run the same command again.",
    }
    code = getattr(error, "status_code", None)
    step = "Is the server up, and the address right (it mostly ends in /v1)?"
    if code is not None and code >= 500:
        step = "The server failed: look at its log, and run the same command again."
    return BackendError(
        f"{url} failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
        next_step=steps.get(code or 0, step),
    )


def _parallel(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    if len(items) <= 1:
        return [work(i) for i in items]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))
