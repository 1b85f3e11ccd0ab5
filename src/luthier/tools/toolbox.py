"""The tools of a response: calls are checked, allowed, run side by side, and told in words."""

from __future__ import annotations

import contextvars
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.content import ToolCall, ToolResult
from luthier.tools.arguments import faults
from luthier.tools.limits import ToolLimits
from luthier.tools.permissions import Permissions, needs_permission
from luthier.tools.result_text import result_text, shortened_to
from luthier.tools.secret_texts import redacted
from luthier.tools.tool import Tool, ToolSource, usable_name

DEEPEST = 2  # tools that call models that call tools
DEPTH_VARIABLE = "LUTHIER_TOOL_DEPTH"  # how deep a process was started by tools
_ends: contextvars.ContextVar[float | None] = contextvars.ContextVar("ends", default=None)
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


class Toolbox:
    """Tools by name, with what they are allowed to do and how far they may go.

    Two tools of one name from two sources are told apart by a number: `search`, `search_2`.
    """

    def __init__(
        self, sources: Iterable[ToolSource], *,
        permissions: Permissions | None = None, limits: ToolLimits | None = None,
    ) -> None:  # fmt: skip
        self._sources = tuple(sources)
        self.permissions = permissions or Permissions()
        self.limits = limits or ToolLimits()
        self._tools: dict[str, Tool] = {}
        notes: list[str] = []
        for source in self._sources:
            notes += source.notes
            for tool in source.tools:
                name = _free(tool.name, self._tools)
                if name != tool.name:
                    where = self._tools[tool.name].origin or "another source"
                    notes.append(f"{tool.name} is there twice: that of {where} keeps the name, "
                                 f"that of {tool.origin or 'this one'} is {name}.")  # fmt: skip
                self._tools[name] = replace(tool, name=name)
        self.notes = tuple(notes)

    @classmethod
    def of(cls, tools: Mapping[str, Tool | Callable[..., Any]] | Toolbox) -> Toolbox:
        """The toolbox of tools or functions by name."""
        from luthier.tools.function_tool import tool_of

        if isinstance(tools, Toolbox):
            return tools
        found = tuple(
            replace(tool, name=name) if isinstance(tool, Tool) else tool_of(tool, name=name)
            for name, tool in tools.items()
        )
        return cls([ToolSource(found)])

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools in their order."""
        return tuple(self._tools.values())

    def get(self, name: str) -> Tool | None:
        """The tool of a name; None where there is none."""
        return self._tools.get(name)

    def only(self, names: Iterable[str]) -> Toolbox:
        """The same with some of the tools, in the order of `names`."""
        kept = tuple(self._tools[name] for name in names if name in self._tools)
        source = ToolSource(kept)
        return Toolbox([source], permissions=self.permissions, limits=self.limits)

    def under(
        self, *, permissions: Permissions | None = None, limits: ToolLimits | None = None
    ) -> Toolbox:
        """The same tools under other permissions or limits."""
        return Toolbox(
            [ToolSource(self.tools)],
            permissions=permissions or self.permissions,
            limits=limits or self.limits,
        )

    def start(self, asked: str) -> ToolSession:
        """The calls of one response to what the user `asked`."""
        return ToolSession(self, asked)

    def close(self) -> None:
        """End what runs behind the tools."""
        for source in self._sources:
            source.close()

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(eq=False)
class ToolSession:
    """What one response has called so far. `asked` is what the user wrote, `private` the origins
    of private data that were read."""

    box: Toolbox
    asked: str
    began: float = field(default_factory=time.monotonic)
    private: set[str] = field(default_factory=set)
    calls: int = 0
    _seen: Counter[str] = field(default_factory=Counter)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results of the calls of one step, in their order. Nothing is raised: what fails is
        told to the model, so that it can mend its call."""
        ready = [self._ready(call) for call in calls]
        if sum(not isinstance(one, ToolResult) for one in ready) < 2:
            results = [one if isinstance(one, ToolResult) else one() for one in ready]
        else:
            with ThreadPoolExecutor(self.box.limits.at_once) as pool:
                running = [
                    one if isinstance(one, ToolResult) else pool.submit(one) for one in ready
                ]
                results = [r if isinstance(r, ToolResult) else r.result() for r in running]
        for call, result in zip(calls, results, strict=True):
            tool = self.box.get(call.name)
            if tool is not None and tool.private and not result.failed:
                self.private.add(tool.origin or tool.name)
        return results

    def _ready(self, call: ToolCall) -> ToolResult | Callable[[], ToolResult]:
        """What runs a call, or why it does not run."""
        refusal = self._refusal(call)
        if refusal:
            return ToolResult(call.id, redacted(refusal), failed=True)
        tool = self.box.get(call.name)
        assert tool is not None
        limits = self.box.limits
        seconds = min(limits.call_seconds, max(0.1, limits.seconds - self.seconds))
        context = contextvars.copy_context()
        return lambda: _result(call, tool, seconds=seconds, limits=limits, context=context)

    def _refusal(self, call: ToolCall) -> str:
        limits, tool = self.box.limits, self.box.get(call.name)
        if tool is None:
            names = ", ".join(t.name for t in self.box.tools) or "none"
            return f"There is no tool {call.name[:80]!r}. Tools: {names}."
        wrong = faults(call.arguments, tool.parameters)
        if wrong:
            return f"The arguments do not fit {call.name}: {wrong}"
        self.calls += 1
        if self.calls > limits.calls:
            return f"No more calls: {limits.calls} were made. Answer with what is known."
        written = json.dumps([call.name, call.arguments], sort_keys=True, default=str)
        self._seen[written] += 1
        if self._seen[written] > limits.repeats:
            return "This very call was made before. Use its result, or answer."
        if _depth.get() + _outer_depth() >= DEEPEST:
            return "Tools that call tools are nested too deeply."
        elsewhere = self.private - {tool.origin or tool.name}
        why = needs_permission(tool, call.arguments, asked=self.asked, private=bool(elsewhere))
        return self.box.permissions.refusal(tool, call.arguments, why=why)


def _result(
    call: ToolCall, tool: Tool, *, seconds: float, limits: ToolLimits, context: contextvars.Context
) -> ToolResult:
    began = time.perf_counter()
    try:
        value = within(seconds, lambda: context.run(_deeper, tool, call.arguments, seconds))
        text, failed = result_text(value, most=limits.result_characters), False
    except ToolFailure as failure:
        text, failed = str(failure), True
    except TimeoutError:
        text, failed = f"{tool.name} took more than {seconds:g} seconds and was given up.", True
    except Exception as error:
        text, failed = f"{type(error).__name__}: {error}", True
    if failed:
        text = shortened_to(redacted(text), limits.result_characters)
    return ToolResult(call.id, text, failed, time.perf_counter() - began)


class ToolFailure(Exception):  # noqa: N818 - what a model is told, no error of Luthier
    """What went wrong in a call, in words for the model."""


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns or raises; TimeoutError after `seconds`. What hangs is left behind in a
    thread that does not keep the process alive."""
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, work()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, daemon=True, name="luthier-tool")
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError
    good, value = outcome[0]
    if good:
        return value
    if isinstance(value, Exception):
        raise value
    raise ToolFailure(f"{type(value).__name__}: {value}")


def seconds_left() -> float:
    """How long the call under way may still take."""
    ends = _ends.get()
    return ToolLimits().call_seconds if ends is None else max(0.05, ends - time.monotonic())


def _deeper(tool: Tool, arguments: Mapping[str, Any], seconds: float) -> Any:
    token = _depth.set(_depth.get() + 1)
    _ends.set(time.monotonic() + seconds)
    try:
        return tool.run(dict(arguments))
    finally:
        _depth.reset(token)


def _outer_depth() -> int:
    value = os.environ.get(DEPTH_VARIABLE, "0")
    return int(value) if value.isdigit() else 0


def depth_environment() -> dict[str, str]:
    """What a process that a tool starts is told about how deep it is."""
    return {DEPTH_VARIABLE: str(_outer_depth() + 1)}


def _free(name: str, taken: Mapping[str, Tool]) -> str:
    name = usable_name(name)
    if name not in taken:
        return name
    return next(f"{name[:60]}_{n}" for n in range(2, 10_000) if f"{name[:60]}_{n}" not in taken)
