"""Calls to a server of the OpenAI API: what can go wrong, asked again or told in words, and several
calls at a time.

A call that failed by accident (a lost connection, an error of the server, a reply that is none) is
made again a few times. One that came too soon waits as long as the server says, and so do all
others. One that was refused for a parameter is made without it, and so are all that follow.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from luthier.errors import BackendError
from luthier.models.endpoint_parameters import Parameters
from luthier.models.endpoint_words import server_words
from luthier.redaction import without_secrets
from luthier.safety.guarded_client import luthier_error
from luthier.safety.visible import storable_json

CONCURRENT_CALLS = 8
RETRIES = 3  # of a call that failed by accident
FIRST_WAIT = 0.5  # seconds before the first of them; doubled each time
MOST_WAITING = 600.0  # seconds that one call waits for a server that wants fewer of them
# What the client, or whoever reads its reply, raises where a reply is not of the API's form.
NOT_THE_API = (
    ValueError, AttributeError, IndexError, KeyError, TypeError, RecursionError, OverflowError
)  # fmt: skip
A = TypeVar("A")
B = TypeVar("B")


class BadReplyError(Exception):
    """A reply that is none, in words. `code` is the status that the body itself gives, if any."""

    def __init__(self, words: str, code: int = 0) -> None:
        self.words, self.code = words, code
        super().__init__(words)


class Caller:
    """Makes the calls to one server and remembers what it does not take."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client.with_options(max_retries=0)
        self.url = url
        self.parameters = Parameters()
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def post(
        self,
        path: str,
        body: dict[str, Any],
        read: Callable[[dict[str, Any]], B],
        *,
        patient: bool = True,
    ) -> B:
        """What `read` makes of the reply, a JSON object, to a call.

        `read` raises BadReplyError for what is no answer. Without `patient` what failed is not
        asked again. BackendError, in the server's own words, where the reply stays no answer; what
        failed on the way, or was refused, is one of openai's errors (see `calling`).
        """
        return self._asked_again(
            lambda sent: self._post_once(path, sent, read), body, patient=patient
        )

    def open_stream(self, body: dict[str, Any]) -> Any:
        """A chat completion as a stream of the client's events."""

        def call(sent: dict[str, Any]) -> Any:
            known = {name: value for name, value in sent.items() if name != "chat_template_kwargs"}
            beyond = {name: value for name, value in sent.items() if name not in known}
            return self.client.chat.completions.create(**known, extra_body=beyond or None)

        return self._asked_again(call, body, patient=True)

    def _post_once(self, path: str, sent: dict[str, Any], read: Callable[[dict[str, Any]], B]) -> B:
        # A server that echoes its key (in an error, in an answer) shows it nowhere.
        text = without_secrets(self.client.post(path, cast_to=str, body=sent))
        try:
            reply = storable_json(json.loads(text))
        except (ValueError, RecursionError):
            said = server_words(text) or "an empty body"
            raise BadReplyError(said) from None
        if not isinstance(reply, dict):
            raise BadReplyError(text[:200])
        if reply.get("error") and not reply.get("choices"):
            error = reply["error"]
            code = error.get("code") if isinstance(error, dict) else 0
            raise BadReplyError(server_words(text), code if isinstance(code, int) else 0)
        return read(reply)

    def _asked_again(
        self, call: Callable[[dict[str, Any]], B], body: dict[str, Any], *, patient: bool
    ) -> B:
        import openai

        failures, waited = 0, 0.0
        while True:
            waited += self._wait_for_turn()
            sent = self.parameters.adapted(body)
            try:
                return call(sent)
            except openai.APIStatusError as error:
                if error.status_code == 429 and "insufficient_quota" not in error.response.text:
                    if waited < MOST_WAITING:
                        self._pause(_retry_after(error) or FIRST_WAIT * 2**failures)
                        failures = min(failures + 1, 6)
                        continue
                elif self.parameters.learn_from(error, sent):
                    continue
                accident = error.status_code >= 500 or error.status_code in (408, 409)
                if not accident or not patient or failures >= RETRIES:
                    raise
            except openai.APIError as error:
                if not patient or failures >= RETRIES or luthier_error(error) is not None:
                    raise
            except BadReplyError as error:
                if not patient or failures >= RETRIES:
                    raise BackendError(
                        f"{self.url} sent what is no reply of the OpenAI API: {error.words}",
                        next_step=_step(error.code or 200),
                    ) from error
            time.sleep(FIRST_WAIT * 2**failures)
            failures += 1

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + min(seconds, 120.0))

    def _wait_for_turn(self) -> float:
        """Sleep until the server wants to be asked again; the seconds that it took."""
        left = self._paused_until - time.monotonic()
        if left <= 0:
            return 0.0
        time.sleep(left)
        return left


def _retry_after(error: Any) -> float | None:
    """The seconds that a server asks to wait, None where it does not say."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


@contextmanager
def calling(url: str) -> Iterator[None]:
    """Turn what goes wrong inside into a BackendError that names the server and the next step."""
    import openai

    try:
        yield
    except openai.APIError as error:
        raise server_error(url, error) from error
    except NOT_THE_API as error:
        raise BackendError(
            f"{url} answered with something that is no reply of the OpenAI API "
            f"({type(error).__name__}: {error})",
            next_step="Is the address that of the API? It mostly ends in /v1.",
        ) from error


def server_error(url: str, error: Exception) -> BackendError:
    """What a failed call says to a user, in the server's own words; the status code decides the
    next step."""
    import openai

    own = luthier_error(error)
    if own is not None:
        return own
    if not isinstance(error, openai.APIStatusError):
        said = str(error).splitlines()[0][:200] if str(error) else "no reason given"
        return BackendError(f"{url} failed: {type(error).__name__}: {said}", next_step=_step(0))
    words = server_words(error.response.text) or str(error).splitlines()[0][:200]
    return BackendError(
        f"{url} failed with status {error.status_code}: {words}",
        next_step=_step(error.status_code),
    )


def _step(code: int) -> str:
    """The next step after a status code; 0 where no reply came."""
    steps = {
        0: "Is the server up, and the address right (it mostly ends in /v1)?",
        200: "Look at the server's log. Is the address that of the API? It mostly ends in /v1.",
        401: "Set LUTHIER_API_KEY to a key the server takes.",
        403: "Set LUTHIER_API_KEY to a key that may use this model.",
        404: "Is the address right (it mostly ends in /v1), and the name of the model after the #?",
        405: "Is the address that of the API? It mostly ends in /v1.",
        429: "The server wants fewer requests: wait, and run the same command again.",
    }
    if code >= 500:
        return "The server failed: look at its log, and run the same command again."
    return steps.get(code, "The server refuses the request itself: its words say what to change.")


def in_parallel(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """`work` done on every item, several at a time; results in the order of the items.

    After a failure the items that were not begun are left out.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(CONCURRENT_CALLS) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
