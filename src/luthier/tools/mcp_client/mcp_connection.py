"""A connection to an MCP server that callers in any thread can use.

The SDK is asynchronous: a thread of its own runs the session. A server that died is started, or
connected to, once more at the next call.
"""

from __future__ import annotations

import asyncio
import contextvars
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from luthier.context import report_progress
from luthier.errors import UserError
from luthier.tools.mcp_client.mcp_address import McpAddress
from luthier.tools.secret_texts import redacted
from luthier.tools.toolbox import ToolFailure, depth_environment, seconds_left

START_SECONDS = 60.0  # npx may have to install a server first
CLOSE_SECONDS = 8.0
MOST_SAID = 400  # characters of a server's stderr in a message


class McpConnection:
    """One server. `call`, `listed` and the rest wait for the answer."""

    def __init__(self, address: McpAddress) -> None:
        self.address = address
        self._loop = asyncio.new_event_loop()
        self._client: Any = None
        self._session: Future[None] | None = None
        self._stop: asyncio.Event | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._pending: set[Future[Any]] = set()
        # What the server writes on stderr: for messages, and not for the terminal.
        self._log: Any = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._thread = threading.Thread(
            target=self._loop.run_forever, daemon=True, name="luthier-mcp"
        )
        self._thread.start()

    def open(self) -> None:
        """Connect. UserError, in the server's words, where there is no server."""
        with self._lock:
            self._open()

    def _open(self) -> None:
        if self._closed:
            raise ToolFailure(f"The connection to {self.address.label} is closed.")
        ready: Future[Any] = Future()
        self._session = asyncio.run_coroutine_threadsafe(self._serve(ready), self._loop)
        try:
            self._client = ready.result(START_SECONDS)
        except (FutureTimeout, CancelledError, Exception) as error:
            self._session.cancel()
            self._client = None
            reason = "it did not answer" if isinstance(error, FutureTimeout) else _words(error)
            raise UserError(
                f"the MCP server {redacted(self.address.label)} cannot be used: {reason}"
                f"{self._said()}",
                next_step="Run its command by itself, and look at what it says.",
            ) from error

    async def _serve(self, ready: Future[Any]) -> None:
        """Hold the session open until it is to stop; it must end in the task it began in."""
        from mcp import Client
        from mcp.client.stdio import StdioServerParameters, stdio_client

        self._stop = asyncio.Event()
        try:
            if self.address.url:
                server: Any = self.address.url
            else:
                program, *arguments = self.address.command
                environment = {**depth_environment(), **self.address.environment}
                parameters = StdioServerParameters(
                    command=program, args=arguments, env=environment,
                    encoding_error_handler="replace",
                )  # fmt: skip
                server = stdio_client(parameters, errlog=self._log)
            async with Client(server) as client:
                ready.set_result(client)
                await self._stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error if isinstance(error, Exception) else OSError(str(error)))
            elif isinstance(error, asyncio.CancelledError):
                raise

    def call(self, name: str, arguments: dict[str, Any], *, repeatable: bool) -> Any:
        """The result of a tool. `repeatable`: where the connection broke, the call is made again on
        a new one.

        TimeoutError where it takes longer than the call may; the server is told to cancel.
        """
        context = contextvars.copy_context()

        async def progress(done: float, total: float | None, message: str | None) -> None:
            context.copy().run(report_progress, done, total or 0.0, message or name)

        return self.ask(
            lambda client: client.call_tool(name, arguments, progress_callback=progress),
            repeatable=repeatable,
        )

    def ask(
        self, request: Callable[[Any], Coroutine[Any, Any, Any]], *, repeatable: bool = True
    ) -> Any:
        """What the server answers to a request; a broken connection is made anew."""
        try:
            return self._once(request)
        except _BROKEN as error:
            if not repeatable:
                raise ToolFailure(
                    "The server was lost during the call, which may or may not have had its effect."
                ) from error
        try:
            return self._once(request)
        except _BROKEN as error:
            raise ToolFailure(f"The server is gone: {_words(error)}{self._said()}") from error

    def _once(self, request: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        from mcp.shared.exceptions import MCPError

        with self._lock:
            if self._client is None or self._session is None or self._session.done():
                try:
                    self._open()
                except UserError as error:
                    raise ToolFailure(str(error.problem)) from error
            client = self._client
            future = asyncio.run_coroutine_threadsafe(request(client), self._loop)
            self._pending.add(future)
        try:
            return future.result(max(0.05, seconds_left() - 0.05))
        except FutureTimeout:
            future.cancel()
            raise TimeoutError from None
        except CancelledError as error:
            raise ConnectionError("the session ended") from error
        except _BROKEN:
            self._reset(client)
            raise
        except MCPError as error:
            if "closed" in str(error).lower():
                self._reset(client)
                raise ConnectionError(str(error)) from error
            raise ToolFailure(f"The server says: {redacted(str(error))[:500]}") from error
        finally:
            self._pending.discard(future)

    def _reset(self, client: Any) -> None:
        """Give a broken session up, with all that waits for it; whoever comes next opens another.

        Nothing is done where another thread was here before.
        """
        with self._lock:
            if self._client is not client:
                return
            if self._session is not None:
                self._session.cancel()
            self._client = None
            for waiting in tuple(self._pending):
                waiting.cancel()

    def close(self) -> None:
        """End the session, and the server where it was started here."""
        with self._lock:
            self._closed = True
            session, stop = self._session, self._stop
            self._client = None
        if session is not None and stop is not None:
            self._loop.call_soon_threadsafe(stop.set)
            try:
                session.result(CLOSE_SECONDS)
            except (FutureTimeout, CancelledError, Exception):
                session.cancel()
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
        self._log.close()

    def _said(self) -> str:
        try:
            self._log.seek(0)
            said = self._log.read()[-MOST_SAID:].strip()
        except (OSError, ValueError):
            return ""
        return f" ({redacted(' '.join(said.split()))})" if said else ""


def _words(error: BaseException) -> str:
    """The innermost reason of what the SDK raised."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return redacted(f"{type(error).__name__}: {error}")[:300]


def _broken() -> tuple[type[BaseException], ...]:
    kinds: tuple[type[BaseException], ...] = (ConnectionError, EOFError, BrokenPipeError)
    try:
        import anyio
    except ImportError:
        return kinds
    return (*kinds, anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)


_BROKEN = _broken()
