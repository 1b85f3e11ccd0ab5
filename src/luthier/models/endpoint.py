"""The endpoint backend: any server that speaks the OpenAI API.

Text comes from /chat/completions, or from /completions where the model has no chat template.
Log-probabilities come from /completions with `echo`, which vLLM, SGLang and others give and hosted
chat services do not; of chats, under the server's own template, where it gives `prompt_logprobs`
(vLLM). A few small calls at the start find out (`endpoint_probe`). Needs
`pip install luthier[endpoint]`.
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
from luthier.models.answer_watch import AnswerWatch
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    ModelFacts,
    ScoreRequest,
    ScoreResult,
    TokenLogprobs,
)
from luthier.models.endpoint_calls import Caller, calling, in_parallel
from luthier.models.endpoint_client import open_client
from luthier.models.endpoint_probe import Probe, probe
from luthier.models.endpoint_replies import (
    ChatReply,
    chat_reply,
    completion_reply,
    samples_of,
    usage_of,
)
from luthier.models.endpoint_scoring import (
    ScoredTokens,
    continuation_start,
    echoed,
    prompt_tokens,
)
from luthier.models.endpoint_words import is_filtered
from luthier.models.openai_form import openai_messages
from luthier.models.pieces import stripped, until_stop
from luthier.models.prompt import Rendered
from luthier.models.thoughts import pieces_without_thoughts
from luthier.records import Capability

_CACHE_LOCK = threading.Lock()
PLAIN_LABELS = (
    "Labels were scored after the prompt in plain text: the server does not give log-probabilities "
    "under its chat template."
)


@dataclass(eq=False)
class EndpointBackend(Backend):
    """One model on one server. Adaptations may fill the prompt and decoding slots only."""

    url: str
    model: str
    client: Any
    found: Probe
    cache: ResponseCache | None = None
    watch: AnswerWatch | None = field(default_factory=AnswerWatch)

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> EndpointBackend:
        """Open "http://host:port/v1#model". The key comes from LUTHIER_API_KEY or OPENAI_API_KEY.

        The server chooses its own device.

        Raises ModelError when no model is named and the server lists several, BackendError when it
        cannot be reached.
        """
        url, _, model = name.partition("#")
        client = open_client(url)
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
        # Opt-in: a cached answer costs nothing and takes no time, which would spoil measured
        # latency.
        path = os.environ.get("LUTHIER_RESPONSE_CACHE")
        cache = ResponseCache(path) if path else None
        with calling(url):  # before anything is planned: does it answer at all?
            found = probe(Caller(client, url), model)
        return cls(url, model, client, found, cache=cache)

    def __post_init__(self) -> None:
        self.name = f"{self.url}#{self.model}"
        # Nobody here can know which weights stand behind an address.
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()
        self.caller = Caller(self.client, self.url)
        self.caller.parameters = self.found.parameters
        # Whether a model reads pictures no server says beforehand; one that does not refuses them.
        self.capabilities = frozenset({Capability.TEXT, Capability.IMAGES})
        if self.found.echoes:
            self.capabilities |= {Capability.LOGPROBS}
        chats = self.found.chats
        self.facts = ModelFacts(has_chat_template=chats, prefers_chat=chats, remote=True)
        self._scored_plainly = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What the server does not take or give, and what follows from it, a sentence each."""
        plain = (PLAIN_LABELS,) if self._scored_plainly else ()
        return (*self.found.notes, *self.caller.parameters.notes, *plain)

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
        """Echoed prompts; CapabilityError where the server does not give them."""
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
        kind, body = self._body(request, decoding)
        cached = self._cached_reply(kind, body, request.seed)
        if kind != "chat":
            cached = self._asked(kind, body, request.seed)
        pieces = self._streamed(body, request.seed) if cached is None else _first_text(cached)
        stops = _stops(decoding)
        with closing(pieces) as open_pieces:  # a stop string closes the connection as well
            answered = pieces_without_thoughts(open_pieces)
            yield from stripped(until_stop(stripped(answered), stops))

    def _streamed(self, body: dict[str, Any], seed: int) -> Generator[str]:
        """What the server streams, as it is. A whole answer goes to the cache."""
        text, ended, usage = "", None, None
        options: dict[str, Any] = {"stream": True}
        if self.cache is not None:
            options["stream_options"] = {"include_usage": True}
        with calling(self.url), self.caller.open_stream({**body, **options}) as events:
            for event in events:
                usage = event.usage or usage
                for choice in event.choices or ():
                    ended = choice.finish_reason or ended
                    if choice.delta.content:
                        text += choice.delta.content
                        yield choice.delta.content
        if ended is not None:
            whole = {"message": {"content": text}, "finish_reason": ended}
            counted = None if usage is None else usage.model_dump()
            self._keep_reply("chat", body, seed, chat_reply({"choices": [whole], "usage": counted}))

    def _body(self, request: GenerateRequest, decoding: Decoding) -> tuple[str, dict[str, Any]]:
        """The kind of call ("chat", or "text" without a chat template) and its body.

        CapabilityError for what the API has no setting for.
        """
        self._check_decoding(decoding)
        body: dict[str, Any] = {"model": self.model}
        if self.found.chats:
            body["messages"] = openai_messages(request.prompt.messages) or [
                {"role": "user", "content": request.prompt.text}
            ]
        else:
            body["prompt"] = _plain(request.prompt)
        body |= {
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
        if self.found.chats and self.found.thinking_off:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        return ("chat" if self.found.chats else "text"), body

    def _generate(self, request: GenerateRequest, adaptation: Adaptation) -> Generated:
        decoding = request.decoding or adaptation.decoding
        kind, body = self._body(request, decoding)
        replies = []
        if request.samples == 1 or self.caller.parameters.takes("n"):
            replies.append(self._asked(kind, body, request.seed))
        missing = request.samples - sum(len(reply["texts"]) for reply in replies)
        if missing > 0:  # the server knows no `n`: the rest is asked for one by one
            self.caller.parameters.drop("n")
            body.pop("n", None)
            for seed in range(request.seed + request.samples - missing,
                              request.seed + request.samples):  # fmt: skip
                replies.append(self._asked(kind, {**body, "seed": seed}, seed))
        stops = _stops(decoding)
        samples = [s for reply in replies for s in samples_of(reply, stops)][: request.samples]
        usage = sum((usage_of(reply) for reply in replies), Usage())
        first = samples[0]
        return Generated(first.text, usage, first.cut, tuple(samples[1:]), lack=first.lack)

    def _asked(self, kind: str, body: dict[str, Any], seed: int) -> ChatReply:
        """The reply to a chat or a plain completion; one that the server's filter withholds has no
        text."""
        import openai

        path, read = {
            "chat": ("/chat/completions", chat_reply),
            "text": ("/completions", completion_reply),
        }[kind]

        def call() -> ChatReply:
            try:
                return self.caller.post(path, body, read)
            except openai.BadRequestError as error:
                if not is_filtered(error.response.text):
                    raise
                return ChatReply(texts=[""], cut=[False], thinking=[False], filtered=True)

        reply: ChatReply = self._cached(kind, body, seed, call)
        return reply

    def _score(self, request: ScoreRequest) -> ScoreResult:
        if any(has_images(message.content) for message in request.prompt.messages):
            raise CapabilityError(
                f"{self.name} scores text only, and the input holds a picture",
                next_step="Leave the labels out of the decoding: then answers are generated.",
            )
        if not request.continuations:
            return ScoreResult((), (), (), Usage())
        if request.prompt.messages and self.found.scores_chats:
            head = self._chat_tokens(request.prompt, None)
            rows = [self._chat_tokens(request.prompt, c) for c in request.continuations]
        else:
            self._scored_plainly |= bool(request.prompt.messages)
            text = _plain(request.prompt)
            head = self._echo(text)
            rows = [self._echo(text + continuation) for continuation in request.continuations]
        start = continuation_start(head, rows)
        logprobs = [float(sum(v or 0.0 for v in row["logprobs"][start:])) for row in rows]
        greedy = [all(row["greedy"][start:]) for row in rows]
        pieces = [list(row["tokens"][start:]) for row in rows]
        apart, flags = told_apart(logprobs, greedy, pieces)
        computed = sum(len(row["tokens"]) for row in (head, *rows))
        return ScoreResult(
            apart,
            tuple(len(row["tokens"]) - start for row in rows),
            flags,
            Usage(start, 0, computed, len(rows) + 1),
        )

    def _text_logprobs(self, text: str) -> TokenLogprobs:
        row = self._echo(text, by_id=False)
        return TokenLogprobs(tuple(row["tokens"]), tuple(row["logprobs"]))

    def _echo(self, text: str, *, by_id: bool = True) -> ScoredTokens:
        """The tokens of a text; `by_id`: told by their ids where the server can, for the text of a
        part of a character tells nothing."""
        body = {
            "model": self.model,
            "prompt": text,
            "max_tokens": 1,
            "echo": True,
            "logprobs": 1,
            "temperature": 0.0,
        }
        if by_id:
            body["return_tokens_as_token_ids"] = True

        def call() -> ScoredTokens:
            return self.caller.post("/completions", body, lambda reply: echoed(reply, text))

        row: ScoredTokens = self._cached("scored", body, 0, call)
        return row

    def _chat_tokens(self, prompt: Rendered, answer: str | None) -> ScoredTokens:
        """The tokens of a chat under the server's template, up to where the answer begins, or with
        an answer that stays open."""
        messages = openai_messages(prompt.messages)
        if answer is not None:
            messages = [*messages, {"role": "assistant", "content": answer}]
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
            "add_generation_prompt": answer is None,
            "continue_final_message": answer is not None,
        }
        if self.found.thinking_off:
            body["chat_template_kwargs"] = {"enable_thinking": False}

        def call() -> ScoredTokens:
            return self.caller.post("/chat/completions", body, prompt_tokens)

        row: ScoredTokens = self._cached("scored", body, 0, call)
        return row

    def _cached(self, kind: str, body: dict[str, Any], seed: int, call: Callable[[], Any]) -> Any:
        """The reply to a body out of the cache, else what `call` returns, which goes there."""
        reply = self._cached_reply(kind, body, seed)
        if reply is None:
            with calling(self.url):
                reply = call()
            self._keep_reply(kind, body, seed, reply)
        return reply

    def _cached_reply(self, kind: str, body: dict[str, Any], seed: int) -> Any:
        if self.cache is None:
            return None
        with _CACHE_LOCK:
            text = self.cache.get(self._key(kind, body, seed))
        return None if text is None else dict(json.loads(text))

    def _keep_reply(self, kind: str, body: dict[str, Any], seed: int, reply: Any) -> None:
        """Put a reply into the cache, unless it says nothing: that is worth asking again."""
        if self.cache is not None and all(text.strip() for text in reply.get("texts", ())):
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


def _stops(decoding: Decoding) -> tuple[str, ...]:
    """The strings that end a text here. A label may stand below an introduction, so that line ends
    do not count before it."""
    if decoding.json_schema is not None:
        return ()
    return tuple(s for s in decoding.stop if s.strip() or not decoding.labels)


def _first_text(reply: ChatReply) -> Generator[str]:
    yield str(reply["texts"][0])


def _plain(prompt: Rendered) -> str:
    """Messages as plain text, for /completions applies no chat template."""
    if not prompt.messages:
        return prompt.text
    turns = [f"{m.role.capitalize()}: {m.text}" for m in prompt.messages]
    return "\n\n".join([*turns, "Assistant: "])
