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
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from luthier.content import Usage, has_images
from luthier.errors import CapabilityError, ModelError
from luthier.ledger.cache import ResponseCache, response_key
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.alternatives import told_apart
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    ModelFacts,
    ScoreRequest,
    ScoreResult,
    TokenLogprobs,
)
from luthier.models.endpoint_calls import NOT_THE_API, calling, in_parallel, server_error
from luthier.models.openai_form import openai_messages
from luthier.models.pieces import stripped, until_stop
from luthier.models.prompt import Rendered
from luthier.records import Capability

_CACHE_LOCK = threading.Lock()


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
            with calling(url):
                names = [m.id for m in client.models.list()]
            if len(names) != 1:
                raise ModelError(
                    f"{url} serves {len(names)} models, and none was named",
                    choices=names[:20],
                    next_step=f"Name one after a #: {url}#{names[0] if names else 'model'}",
                )
            model = names[0]
        # Whether a model reads pictures no server says beforehand; one that does not refuses them.
        capabilities = {Capability.TEXT, Capability.IMAGES}
        if _echoes(client, model, url):
            capabilities.add(Capability.LOGPROBS)
        else:  # before anything is planned: does it answer at all?
            with calling(url):
                _ = _hello(client, model).choices[0].message.content
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
        return in_parallel(lambda r: self._generate(r, adaptation), requests)

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Echoed completions; CapabilityError where the server does not give them."""
        self._check(adaptation)
        if Capability.LOGPROBS not in self.capabilities:
            raise CapabilityError(
                f"{self.name} does not give log-probabilities",
                next_step="Generate text instead, or use a server with /completions and echo.",
            )
        return in_parallel(self._score, requests)

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """Echoed completions; CapabilityError where the server does not give them."""
        self._check(adaptation)
        if Capability.LOGPROBS not in self.capabilities:
            raise self.lacks(Capability.LOGPROBS)
        return in_parallel(self._text_logprobs, texts)

    def stream(self, request: GenerateRequest, adaptation: Adaptation) -> Iterator[str]:
        """A chat completion in the pieces that the server sends. A cached answer is one piece."""
        self._check(adaptation)
        decoding = request.decoding or adaptation.decoding
        body = self._chat_body(request, decoding)
        cached = self._cached_reply("chat", body, request.seed)
        pieces = self._streamed(body, request.seed) if cached is None else _first_text(cached)
        stops = () if decoding.json_schema is not None else decoding.stop
        with closing(pieces) as open_pieces:  # a stop string closes the connection as well
            yield from stripped(until_stop(stripped(open_pieces), stops))

    def _streamed(self, body: dict[str, Any], seed: int) -> Generator[str]:
        """What the server streams, as it is. A whole answer goes to the cache."""
        text, ended, usage = "", None, None
        options: dict[str, Any] = {"stream": True}
        if self.cache is not None:
            options["stream_options"] = {"include_usage": True}
        with calling(self.url), self.client.chat.completions.create(**body, **options) as events:
            for event in events:
                usage = event.usage or usage
                for choice in event.choices:
                    ended = choice.finish_reason or ended
                    if choice.delta.content:
                        text += choice.delta.content
                        yield choice.delta.content
        if ended is not None:
            reply = _chat_reply([text], [ended], usage)
            self._keep_reply("chat", body, seed, reply)

    def _chat_body(self, request: GenerateRequest, decoding: Decoding) -> dict[str, Any]:
        """The body of a chat completion. CapabilityError for what the API has no setting for."""
        self._check_decoding(decoding)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": openai_messages(request.prompt.messages)
            or [{"role": "user", "content": request.prompt.text}],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": request.seed,
        }
        # Chat answers may begin with a line end; a stop at it would leave nothing.
        stops = [s for s in decoding.stop if s.strip() and decoding.json_schema is None]
        if stops:
            body["stop"] = stops
        if decoding.json_schema is not None:
            schema = {"name": "answer", "schema": json.loads(str(decoding.json_schema))}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.samples > 1:
            body["n"] = request.samples
        return body

    def _generate(self, request: GenerateRequest, adaptation: Adaptation) -> Generated:
        decoding = request.decoding or adaptation.decoding
        body = self._chat_body(request, decoding)

        def call() -> dict[str, Any]:
            reply = self.client.chat.completions.create(**body)
            texts = [choice.message.content or "" for choice in reply.choices]
            return _chat_reply(texts, [c.finish_reason for c in reply.choices], reply.usage)

        reply = self._cached("chat", body, request.seed, call)
        read, written = int(reply["prompt_tokens"]), int(reply["generated_tokens"])
        stops = () if decoding.json_schema is not None else decoding.stop
        texts = ["".join(stripped(until_stop([t.strip()], stops))) for t in _texts(reply)]
        cut = reply.get("cut") or [False] * len(texts)
        others = [Generated(t, Usage(), c) for t, c in zip(texts[1:], cut[1:], strict=True)]
        return Generated(texts[0], Usage(read, written, read + written, 1), cut[0], tuple(others))

    def _score(self, request: ScoreRequest) -> ScoreResult:
        if any(has_images(message.content) for message in request.prompt.messages):
            raise CapabilityError(
                f"{self.name} scores text only, and the input holds a picture",
                next_step="Leave the labels out of the decoding: then answers are generated.",
            )
        head = _plain(request.prompt)
        scored, computed = [], 0
        pieces: list[list[str]] = []
        for continuation in request.continuations:
            reply = self._echo(head + continuation)
            scored.append(_echoed(reply, len(head), len(head) + len(continuation)))
            first = scored[-1][3]
            pieces.append(reply["tokens"][first : first + scored[-1][1]])
            computed += len(reply["tokens"])
        logprobs, tokens, greedy, before = zip(*scored, strict=True) if scored else ((),) * 4
        usage = Usage(before[-1] if before else 0, 0, computed, len(request.continuations))
        apart, flags = told_apart(logprobs, greedy, pieces)
        return ScoreResult(apart, tokens, flags, usage)

    def _text_logprobs(self, text: str) -> TokenLogprobs:
        reply = self._echo(text)
        # What the server had to generate after the text is left out.
        count = sum(offset < len(text) for offset in reply["offsets"])
        return TokenLogprobs(tuple(reply["tokens"][:count]), tuple(reply["logprobs"][:count]))

    def _echo(self, text: str) -> dict[str, Any]:
        """The tokens of a text and of one that follows it: where each starts, its log-probability
        and the likeliest in its place."""
        body = {
            "model": self.model,
            "prompt": text,
            "max_tokens": 1,
            "echo": True,
            "logprobs": 1,
            "temperature": 0.0,
        }

        def call() -> dict[str, Any]:
            echo = self.client.completions.create(**body).choices[0].logprobs
            return {
                "offsets": list(echo.text_offset),
                "logprobs": list(echo.token_logprobs),
                "tokens": list(echo.tokens),
                "top": [dict(t) if t else {} for t in echo.top_logprobs or []],
            }

        return self._cached("echo", body, 0, call)

    def _cached(
        self, kind: str, body: dict[str, Any], seed: int, call: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The reply to a body out of the cache, else what `call` returns, which goes there."""
        reply = self._cached_reply(kind, body, seed)
        if reply is None:
            with calling(self.url):
                reply = call()
            self._keep_reply(kind, body, seed, reply)
        return reply

    def _cached_reply(self, kind: str, body: dict[str, Any], seed: int) -> dict[str, Any] | None:
        if self.cache is None:
            return None
        with _CACHE_LOCK:
            text = self.cache.get(self._key(kind, body, seed))
        return None if text is None else dict(json.loads(text))

    def _keep_reply(
        self, kind: str, body: dict[str, Any], seed: int, reply: dict[str, Any]
    ) -> None:
        if self.cache is not None:
            with _CACHE_LOCK:
                self.cache.put(self._key(kind, body, seed), json.dumps(reply))

    def _key(self, kind: str, body: dict[str, Any], seed: int) -> str:
        return response_key(model=self.name, prompt=body, decoding=kind, seed=seed)

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


def _chat_reply(texts: list[str], ends: list[str | None], usage: Any) -> dict[str, Any]:
    """What is kept of a chat completion; `usage` may be None."""
    return {
        "texts": texts,
        "cut": [end == "length" for end in ends],
        "prompt_tokens": usage.prompt_tokens if usage else 0,
        "generated_tokens": usage.completion_tokens if usage else 0,
    }


def _echoed(reply: dict[str, Any], start: int, end: int) -> tuple[float, int, bool, int]:
    """Of the characters `start:end` of an echoed text: the summed log-probability, the number of
    tokens, whether each of them was the likeliest, and the number of tokens before them."""
    # The first token that reaches past the prompt may have merged with its end.
    inside = [
        i
        for i, (offset, token) in enumerate(zip(reply["offsets"], reply["tokens"], strict=True))
        if offset + len(token) > start and offset < end
    ]

    def likeliest(i: int) -> bool:
        top: dict[str, float] = reply["top"][i] if i < len(reply["top"]) else {}
        return bool(top) and max(top, key=top.__getitem__) == reply["tokens"][i]

    values = [reply["logprobs"][i] for i in inside]
    total = float(sum(value for value in values if value is not None))
    greedy = bool(inside) and all(likeliest(i) for i in inside)
    return total, len(inside), greedy, inside[0] if inside else 0


def _texts(reply: dict[str, Any]) -> list[str]:
    """The texts of a reply; a cache of an earlier version holds a single one."""
    return [str(text) for text in reply.get("texts") or [reply["text"]]]


def _first_text(reply: dict[str, Any]) -> Generator[str]:
    yield _texts(reply)[0]


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
        raise server_error(url, error) from error
    except openai.AuthenticationError as error:
        raise server_error(url, error) from error
    except (openai.APIError, *NOT_THE_API):
        return False


def _hello(client: Any, model: str) -> Any:
    """The shortest chat there is."""
    messages = [{"role": "user", "content": "Hello"}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=1)
