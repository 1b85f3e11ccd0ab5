"""Reading what a path names, whatever it is: only plain files, and no more than is allowed.

A pipe would wait for ever, a device or a file of the kernel would never end. All refusals are
OSErrors with the reason in `strerror`, which every reader shows already.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

KERNEL = ("/proc/", "/sys/", "/dev/")
SHARED_MEMORY = "/dev/shm/"


def open_plain(path: str | Path) -> BinaryIO:
    """A plain file, open for reading. OSError for a pipe, a device, a folder, a kernel's file."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file (a folder, a pipe or a device)")
        real = os.path.realpath(path)
        if real.startswith(KERNEL) and not real.startswith(SHARED_MEMORY):
            raise OSError(errno.EINVAL, "it is a file of the system's kernel")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_plain(path: str | Path, *, most: int) -> bytes:
    """The bytes of a plain file; OSError where there are more than `most` too."""
    with open_plain(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return data
