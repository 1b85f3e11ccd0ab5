"""Which addresses a request may go to (server-side request forgery, OWASP A10:2021).

A name is looked up once, every address behind it is checked, and the connection goes to the address
that was checked: a name that answers differently the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore

from luthier.tools.toolbox import ToolFailure

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SCHEMES = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an address lies in the public internet: not here, not in a private network, not a
    cloud's own (169.254.169.254), in no form of writing it."""
    try:
        address: Address = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses alone, and to the hosts in `trusted`: (name, port) pairs that
    the user named."""

    def __init__(self, trusted: Iterable[tuple[str, int]] = ()) -> None:
        self._trusted = frozenset((host.lower(), port) for host, port in trusted)
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None,
        local_address: str | None = None, socket_options: Any = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """A connection to the first address behind `host`, all of which were checked."""
        found = addresses_of(host, port)
        if (host.lower(), port) not in self._trusted:
            closed = [address for address in found if not is_public(address)]
            if closed:
                raise ToolFailure(
                    f"{host} is not reached: {closed[0]} lies in no public network, and the user "
                    "did not name it."
                )
        failure: Exception | None = None
        for address in found:
            try:
                return self._real.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address,
                    socket_options=socket_options,
                )  # fmt: skip
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError(f"no address for {host}")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        """Never: a socket of this machine is no page."""
        raise ToolFailure("Sockets of this machine are not reached.")

    def sleep(self, seconds: float) -> None:
        """Wait between tries."""
        self._real.sleep(seconds)


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses behind a name, in the resolver's order."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ToolFailure(f"There is no host {host[:100]!r}.") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
