"""The socket that a server listens at, taken before anything heavy loads."""

from __future__ import annotations

import errno
import socket

from luthier.errors import UserError


def free_socket(host: str, port: int) -> socket.socket:
    """A bound socket. UserError where the port is in use or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "it is in use" if taken else (getattr(error, "strerror", None) or str(error))
        raise UserError(
            f"cannot listen at {host}:{port}: {reason}",
            next_step="Choose another --port; 0 takes any free one.",
        ) from error
    return bound
