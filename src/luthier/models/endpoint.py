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
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.content import Usage
from luthier.errors import CapabilityError, ModelError
from luthier.ledger.cache import ResponseCache
from luthier.models.adaptation import Adaptation, Decoding
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
from luthier.models.endpoint_cache import KeptReplies
from luthier.models.endpoint_calls import Caller, calling, in_parallel
from luthier.models.endpoint_client import open_client
from luthier.models.endpoint_echo import EchoScorer
from luthier.models.endpoint_forms import (
    check_settings,
    check_slots,
    first_text,
    stops_of,
)
from luthier.models.endpoint_labels import JSON_TOKENS, LabelMeans, held_answer, label_means
from luthier.models.endpoint_probe import Probe, probe
from luthier.models.endpoint_replies import (
    ChatReply,
    chat_reply,
    completion_reply,
    plain_turns,
    samples_of,
    usage_of,
)
from luthier.models.endpoint_words import is_filtered
from luthier.models.openai_form import openai_messages, openai_tools
from luthier.models.pieces import stripped, until_stop
from luthier.models.thoughts import pieces_without_thoughts
from luthier.records import Capability
from luthier.redaction import plain_address, redacted_pieces
from luthier.safety.visible import storable

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
        client, url = open_client(url), plain_address(url)  # no record holds a password
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
        self.facts = ModelFacts(
            has_chat_template=chats, prefers_chat=chats, lists_tools=chats,
            thinks=self.found.thinks, remote=True,
        )  # fmt: skip
        self.call_format = "api" if chats else "plain"
        self._kept = KeptReplies(self.name, self.url, self.cache)
        self._echo = EchoScorer(self.model, self.found, caller=self.caller, kept=self._kept)
        self._means: LabelMeans | None = None
        self._asking = threading.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the server does not take or give, and what follows from it, a sentence each."""
        plain = (PLAIN_LABELS,) if self._echo.plainly else ()
        held = () if self._means is None else self._means.note
        return (*self.found.notes, *self.caller.parameters.notes, *plain, *held)

    def count_tokens(self, text: str) -> int:
        """An estimate, four characters a token; exact counts come back with every answer."""
        return max(1, len(text) // 4)

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Chat completions, several under way at once, in the order of the requests."""
        check_slots(self.name, adaptation)
        return in_parallel(lambda r: self._generate(r, adaptation), requests)

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Echoed prompts; CapabilityError where the server does not give them."""
        check_slots(self.name, adaptation)
        if Capability.LOGPROBS not in self.capabilities:
            raise CapabilityError(
                f"{self.name} does not give log-probabilities",
                next_step="Generate text instead, or use a server with /completions and echo.",
            )
        return in_parallel(self._echo.score, requests)

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """Echoed completions; CapabilityError where the server does not give them."""
        check_slots(self.name, adaptation)
        if Capability.LOGPROBS not in self.capabilities:
            raise self.lacks(Capability.LOGPROBS)
        return in_parallel(self._echo.text_logprobs, texts)

    def stream(self, request: GenerateRequest, adaptation: Adaptation) -> Iterator[str]:
        """A chat completion in the pieces that the server sends. A cached answer is one piece."""
        check_slots(self.name, adaptation)
        decoding = request.decoding or adaptation.decoding
        if self._holds(request, decoding):  # what holds it may be JSON, which is no answer yet
            yield self._generate(request, adaptation).text
            return
        kind, body = self._body(request, decoding)
        cached = self._kept.get(kind, body, request.seed)
        if kind != "chat":
            cached = self._asked(kind, body, request.seed)
        pieces = self._streamed(body, request.seed) if cached is None else first_text(cached)
        stops = stops_of(decoding)
        with closing(pieces) as open_pieces:  # a stop string closes the connection as well
            answered = pieces_without_thoughts(redacted_pieces(open_pieces))
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
                        text += (piece := storable(choice.delta.content))
                        yield piece
        if ended is not None:
            whole = {"message": {"content": text}, "finish_reason": ended}
            counted = None if usage is None else usage.model_dump()
            self._kept.keep("chat", body, seed, chat_reply({"choices": [whole], "usage": counted}))

    def _body(self, request: GenerateRequest, decoding: Decoding) -> tuple[str, dict[str, Any]]:
        """The kind of call ("chat", or "text" without a chat template) and its body.

        CapabilityError for what the API has no setting for.
        """
        check_settings(self.name, decoding)
        body: dict[str, Any] = {"model": self.model}
        if self.found.chats:
            body["messages"] = openai_messages(request.prompt.messages) or [
                {"role": "user", "content": request.prompt.text}
            ]
        else:
            body["prompt"] = plain_turns(request.prompt)
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
        if self._holds(request, decoding):
            means = self._label_means()
            body |= means.parameters(decoding.labels)
            if means.holding:
                body.pop("stop", None)
                body["max_tokens"] += JSON_TOKENS
        if request.prompt.tools and self.found.chats:
            body["tools"] = openai_tools(request.prompt.tools)
        if request.samples > 1:
            body["n"] = request.samples
        if self.found.chats and self.found.thinking_off and request.prompt.thought is None:
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
        stops = stops_of(decoding)
        samples = [s for reply in replies for s in samples_of(reply, stops)][: request.samples]
        if self._holds(request, decoding):
            samples = [replace(s, text=held_answer(s.text)) for s in samples]
        usage = sum((usage_of(reply) for reply in replies), Usage())
        first = samples[0]
        return replace(first, usage=usage, others=tuple(samples[1:]))

    def _holds(self, request: GenerateRequest, decoding: Decoding) -> bool:
        """Whether an answer is to be held to labels; not after a thought, or beside tools."""
        plain = request.prompt.thought is None and not request.prompt.tools
        return bool(decoding.labels) and self.found.chats and plain

    def _label_means(self) -> LabelMeans:
        """What the server does for labels, found out with the first of them."""
        with self._asking:
            if self._means is None:
                self._means = label_means(self.caller, self.model, off=self.found.thinking_off)
            return self._means

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

        reply: ChatReply = self._kept.ask(kind, body, seed, call)
        return reply
