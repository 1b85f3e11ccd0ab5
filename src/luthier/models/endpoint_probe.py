"""What a server can do, found out by a few small calls before anything is planned.

A server is believed by its answers: one that does not know a parameter mostly ignores it and sends
a reply of the right form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from luthier.errors import BackendError
from luthier.models.endpoint_calls import NOT_THE_API, Caller
from luthier.models.endpoint_parameters import Parameters
from luthier.models.endpoint_replies import ChatReply, chat_reply
from luthier.models.endpoint_scoring import PROBE, decoded_end, echoed, prompt_tokens

HELLO_TOKENS = 16  # enough to see a thought begin
THINKS = (
    "The model thinks before it answers, and thoughts count against the limit of new tokens "
    "(max_new_tokens in the task file)."
)
THINKING_OFF = "The model can think; it was asked to answer at once (enable_thinking: false)."


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server does.

    `chats`: it has a chat template. `echoes`: /completions gives the log-probabilities of a prompt.
    `scores_chats`: /chat/completions does, under the chat template. `thinking_off`: thinking is to
    be switched off with every call. `thinks`: it can think before it answers.
    `notes` is what a user should know.
    """

    chats: bool = True
    echoes: bool = False
    scores_chats: bool = False
    thinking_off: bool = False
    thinks: bool = False
    notes: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)


def probe(caller: Caller, model: str) -> Probe:
    """Ask a server what it can. BackendError, or one of openai's errors, where it answers neither
    chats nor plain completions."""
    import openai

    echoes = _echoes(caller, model)
    notes: tuple[str, ...] = ()
    thinking_off = thinks = False
    try:
        thinks = _hello(caller, model)["thought"]
        if thinks:
            thinking_off = _can_stop_thinking(caller, model)
            notes = (THINKING_OFF if thinking_off else THINKS,)
    except (openai.BadRequestError, openai.NotFoundError) as error:
        if not echoes or not _has_no_template(error):
            raise
        return Probe(chats=False, echoes=True, parameters=caller.parameters)
    return Probe(
        echoes=echoes,
        scores_chats=echoes and _scores_chats(caller, model),
        thinking_off=thinking_off,
        thinks=thinks,
        notes=notes,
        parameters=caller.parameters,
    )


def _echoes(caller: Caller, model: str) -> bool:
    """Whether /completions echoes log-probabilities; any refusal means no."""
    import openai

    body = {"model": model, "prompt": PROBE, "max_tokens": 1, "echo": True, "logprobs": 1,
            "temperature": 0.0}  # fmt: skip
    try:
        found = caller.post("/completions", body, lambda r: echoed(r, PROBE), patient=False)
    except (openai.APIConnectionError, openai.AuthenticationError):
        raise
    except (openai.APIError, BackendError, *NOT_THE_API):
        return False
    return len(found["tokens"]) > 1


def _hello(caller: Caller, model: str, **more: Any) -> ChatReply:
    """The shortest chat there is."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": HELLO_TOKENS, **more}
    return caller.post("/chat/completions", body, chat_reply, patient=False)


def _can_stop_thinking(caller: Caller, model: str) -> bool:
    """Whether a switch in the template (Qwen3's) keeps a model from thinking."""
    import openai

    try:
        reply = _hello(caller, model, chat_template_kwargs={"enable_thinking": False})
    except (openai.APIError, BackendError):
        return False
    return not reply["thought"] and caller.parameters.takes("chat_template_kwargs")


def _scores_chats(caller: Caller, model: str) -> bool:
    """Whether the log-probabilities of a chat's prompt come back, an answer left open at its end.

    A server that closes the answer would have all labels scored with what closes it.
    """
    import openai

    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": PROBE}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0.0,
            "prompt_logprobs": 0, "add_generation_prompt": False,
            "continue_final_message": True}  # fmt: skip

    def read(reply: dict[str, Any]) -> bool:
        known = prompt_tokens(reply)
        end = decoded_end(reply).strip()
        return len(known["tokens"]) > 3 and bool(end) and PROBE.endswith(end)

    try:
        return caller.post("/chat/completions", body, read, patient=False)
    except (openai.APIError, BackendError, *NOT_THE_API):
        return False


def _has_no_template(error: Any) -> bool:
    words = error.response.text.casefold()
    return "chat template" in words or "chat_template" in words or error.status_code == 404
