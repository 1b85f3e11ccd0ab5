"""Calls to a server of the OpenAI API: what can go wrong, in words, and several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from luthier.errors import BackendError

CONCURRENT_CALLS = 8
# What the client, or whoever reads its reply, raises where a reply is not of the API's form.
NOT_THE_API = (ValueError, AttributeError, IndexError, KeyError, TypeError)
A = TypeVar("A")
B = TypeVar("B")


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
    """What a failed call says to a user; the status code decides the next step."""
    import openai

    steps = {
        401: "Set LUTHIER_API_KEY to a key the server takes.",
        403: "Set LUTHIER_API_KEY to a key that may use this model.",
        404: "Is the address right (it mostly ends in /v1), and the name of the model after the #?",
        429: "The server wants fewer requests: wait, and run the same command again.",
    }
    code = error.status_code if isinstance(error, openai.APIStatusError) else 0
    step = steps.get(code, "Is the server up, and the address right (it mostly ends in /v1)?")
    if code >= 500:
        step = "The server failed: look at its log, and run the same command again."
    return BackendError(
        f"{url} failed: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
        next_step=step,
    )


def in_parallel(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """`work` done on every item, several at a time; results in the order of the items."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(CONCURRENT_CALLS) as pool:
        return list(pool.map(work, items))
