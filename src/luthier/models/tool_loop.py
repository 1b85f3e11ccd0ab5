"""The turn loop: a response that calls tools is followed by their results and the next response.

Many conversations go on side by side: the next responses of all that are open are one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from luthier.content import (
    Conversation,
    Message,
    Part,
    Response,
    Text,
    ToolCall,
    Usage,
    text_of,
)
from luthier.models.adaptation import ToolUse
from luthier.models.prompt import call_id
from luthier.records import Example
from luthier.tools import Permissions, Toolbox, ToolLimits, open_toolbox
from luthier.tools.named_addresses import check_named
from luthier.tools.toolbox import ToolSession

if TYPE_CHECKING:
    from luthier.models.model import Model

LEAST_RESULT = 400  # characters of a result that are always shown


@dataclass(eq=False)
class OpenConversation:
    """One conversation on its way to an answer."""

    example: Example
    session: ToolSession
    turns: tuple[Message, ...] = ()
    usage: Usage = field(default_factory=Usage)
    response: Response | None = None
    stopped: str = ""

    @property
    def next_example(self) -> Example:
        """What the model answers next."""
        if not self.turns:
            return self.example
        messages = Conversation.of(self.example.input).messages
        return replace(self.example, input=Conversation((*messages, *self.turns)))

    @property
    def answered(self) -> Response:
        """The last response, with all that came before it."""
        assert self.response is not None
        return replace(self.response, usage=self.usage, turns=self.turns, stopped=self.stopped)

    def take(self, response: Response, *, step: int, limits: ToolLimits) -> bool:
        """Take the response of a step, and run its calls; whether another step follows."""
        self.response, self.usage = response, self.usage + response.usage
        if not response.tool_calls:
            return False
        self.stopped = limits.exceeded(self.usage, self.session.seconds)
        if step >= limits.steps and not self.stopped:
            self.stopped = f"{limits.steps} steps were made"
        if self.stopped:
            return False
        calls = tuple(
            call if call.id else replace(call, id=call_id(step, place))
            for place, call in enumerate(response.tool_calls)
        )
        results = tuple(self.session.run(calls))
        self.turns = (*self.turns, _calling(response.text, calls), Message("tool", results))
        return True


def answer_with_tools(
    model: Model, examples: Sequence[Example], box: Toolbox, *, seed: int
) -> list[Response]:
    """For each example the first response without calls, or the one at which a limit was reached:
    its calls are returned and not run.

    The `turns` of a response are the calls that were run and their results, `stopped` says which
    limit ended them; its usage is that of all steps.
    """
    limits = _in_context(model, box.limits)
    if limits != box.limits:
        box = box.under(limits=limits)
    own = model.adaptation.tools
    if own is not None and own.signatures and all(box.get(s.name) for s in own.signatures):
        use = replace(own, addresses=())
    else:
        use = ToolUse(tuple(tool.signature for tool in box.tools))
    stepper = model.adapt(tools=use)
    conversations = [OpenConversation(e, box.start(text_of(e.input))) for e in examples]
    waiting = list(conversations)
    for step in range(1, limits.steps + 1):
        asked = [c.next_example for c in waiting]
        responses = stepper.answer(asked, seed=seed)
        waiting = [
            c
            for c, response in zip(waiting, responses, strict=True)
            if c.take(response, step=step, limits=limits)
        ]
        if not waiting:
            break
    return [c.answered for c in conversations]


def answer_with_own_tools(
    model: Model, examples: Sequence[Example], *, seed: int
) -> list[Response]:
    """The same with the tools of the model's own adaptation, opened at their addresses."""
    use = model.adaptation.tools
    assert use is not None
    box = open_tools(use)
    return answer_with_tools(model, examples, box.only(s.name for s in use.signatures), seed=seed)


def open_tools(use: ToolUse) -> Toolbox:
    """The tools at the addresses of an adaptation. They stay open for the process: a comparison
    asks them thousands of times."""
    limits = replace(use.limits or ToolLimits(), steps=use.steps)
    return _opened(use.addresses, use.allow, limits)


@lru_cache(maxsize=8)
def _opened(addresses: tuple[str, ...], allow: tuple[str, ...], limits: ToolLimits) -> Toolbox:
    check_named(addresses)
    permissions = Permissions(frozenset(allow))
    return open_toolbox(addresses, permissions=permissions, limits=limits)


def _in_context(model: Model, limits: ToolLimits) -> ToolLimits:
    """The limits with results that leave room in a small context: about a quarter of it."""
    context = model.backend.facts.context_length
    if context is None or context >= limits.result_characters:
        return limits
    return replace(limits, result_characters=max(LEAST_RESULT, context))


def _calling(text: str, calls: Sequence[ToolCall]) -> Message:
    """The model's own turn: what it wrote, and its calls."""
    parts: list[Part] = [Text(text)] if text else []
    return Message("assistant", (*parts, *calls))
