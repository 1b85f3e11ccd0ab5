"""Log-probabilities from a server: of continuations, and of whole texts."""

from __future__ import annotations

from luthier.content import Usage, has_images
from luthier.errors import CapabilityError
from luthier.models.alternatives import told_apart
from luthier.models.backend import ScoreRequest, ScoreResult, TokenLogprobs
from luthier.models.endpoint_cache import KeptReplies
from luthier.models.endpoint_calls import Caller
from luthier.models.endpoint_probe import Probe
from luthier.models.endpoint_replies import plain_turns
from luthier.models.endpoint_scoring import (
    ScoredTokens,
    continuation_start,
    echoed,
    prompt_tokens,
)
from luthier.models.openai_form import openai_messages
from luthier.models.prompt import Rendered


class EchoScorer:
    """Scores what a server is given to read.

    **Arguments**

    - `model`: the server's name of the model; `found` is what the server can do.
    - `caller`, `kept`: make the calls, and keep their replies.

    `plainly` says whether a chat was scored in plain text, for want of the server's template.
    """

    def __init__(self, model: str, found: Probe, *, caller: Caller, kept: KeptReplies) -> None:
        self.model, self.found, self.caller, self.kept = model, found, caller, kept
        self.plainly = False

    def score(self, request: ScoreRequest) -> ScoreResult:
        """The continuations after their prompt. CapabilityError where it holds a picture."""
        if any(has_images(message.content) for message in request.prompt.messages):
            raise CapabilityError(
                f"{self.kept.name} scores text only, and the input holds a picture",
                next_step="Leave the labels out of the decoding: then answers are generated.",
            )
        if not request.continuations:
            return ScoreResult((), (), (), Usage())
        if request.prompt.messages and self.found.scores_chats:
            head = self._chat_tokens(request.prompt, None)
            rows = [self._chat_tokens(request.prompt, c) for c in request.continuations]
        else:
            self.plainly |= bool(request.prompt.messages)
            text = plain_turns(request.prompt)
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

    def text_logprobs(self, text: str) -> TokenLogprobs:
        """The tokens of a text."""
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

        row: ScoredTokens = self.kept.ask("scored", body, 0, call)
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

        row: ScoredTokens = self.kept.ask("scored", body, 0, call)
        return row
