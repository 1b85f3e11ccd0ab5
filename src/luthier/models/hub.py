"""Whether a hub id can be fetched, found out before a library tries for half a minute."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from luthier.errors import ModelError

TIMEOUT_SECONDS = 3.0


def check_reachable(name: str) -> None:
    """ModelError when `name` is neither in the local cache nor its hub reachable.

    Behind a proxy this returns at once, because only the library itself can find out there.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if any(
        isinstance(try_to_load_from_cache(name, file), str)
        for file in ("config.json", "model_index.json")
    ):
        return
    host = urlsplit(constants.ENDPOINT)
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        if getproxies() or os.environ.get("HTTPS_PROXY"):
            return
        try:
            port = host.port or (80 if host.scheme == "http" else 443)
            socket.create_connection((host.hostname or "", port), timeout=TIMEOUT_SECONDS).close()
            return
        except OSError as error:
            reason = f"{host.hostname} does not answer ({error.strerror or error})"
    raise ModelError(
        f"{name!r} is no folder here, is not in the local cache of the hub, and {reason}",
        choices=("nano", "a folder with config.json", "http(s)://…/v1#model"),
        next_step="Check the path; or fetch it where there is a network and give its folder.",
    )


def holds(name: str, file: str) -> bool:
    """Whether a hub id has a file; False where that cannot be found out."""
    from huggingface_hub import constants, file_exists, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, file), str):
        return True
    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json"), str):
        return False
    try:
        return bool(file_exists(name, file))
    except Exception:  # no network, no such name, not allowed: the opener says which
        return False
