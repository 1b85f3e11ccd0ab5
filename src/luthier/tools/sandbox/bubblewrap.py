"""Confinement by bubblewrap: namespaces without a network, without files, without processes of
others, and limits on what is left.

- Every namespace is new; the root folder holds `/usr` (read-only) and an empty scratch folder in
  memory. Nothing else of this machine is there: no home, no /etc, no sockets, no environment.
- Whoever starts it, root too, becomes an ordinary user first: for root the kernel waives the limit
  on processes, and a hole in a namespace would be root's.
- Limits on CPU, memory, processes, open files and file size are set inside; time and output are
  watched from outside, and whatever still runs is killed with its namespace.

It is tried before it is used: where the trial does not fail as it should, nothing is run.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from luthier.errors import UserError

NOBODY = 65534
SCRATCH_BYTES = 32 * 2**20
MEMORY_BYTES = 400 * 2**20
PROCESSES = 8
MOST_OUTPUT = 60_000  # bytes; more, and the code is ended
CPU_SECONDS = 20
INSTALL = "apt-get install bubblewrap (dnf, pacman and apk have it too)"

# What runs inside before anything else. It cannot be undone: limits only go down.
PRELUDE = """
import resource as r, sys
for name, most in (("CORE", 0), ("CPU", {cpu}), ("AS", {memory}), ("FSIZE", {scratch}),
                   ("NOFILE", 64), ("NPROC", {processes}), ("STACK", 16 * 2**20)):
    r.setrlimit(getattr(r, "RLIMIT_" + name), (most, most))
code = sys.stdin.buffer.read().decode("utf-8", "replace")
del r, name, most
import ast as _ast
def _run(code):
    tree = _ast.parse(code, "code")
    last = tree.body[-1] if tree.body else None
    names = {{"__name__": "__main__"}}
    if isinstance(last, _ast.Expr):
        tree.body.pop()
    exec(compile(tree, "code", "exec"), names)
    if isinstance(last, _ast.Expr):
        value = eval(compile(_ast.Expression(last.value), "code", "eval"), names)
        if value is not None:
            print(repr(value))
try:
    _run(code)
except SystemExit:
    raise
except BaseException:
    import traceback
    lines = traceback.format_exc().splitlines()
    kept = [l for i, l in enumerate(lines) if 'File "<string>"' not in l
            and (i == 0 or 'File "<string>"' not in lines[i - 1])]
    print("\\n".join(kept[-12:]), file=sys.stderr)
    sys.exit(1)
"""


@dataclass(frozen=True, slots=True)
class Confined:
    """What came of a run: what was printed, how it ended (`ended`: "", or why it was ended), and
    its exit code."""

    output: str
    ended: str = ""
    code: int = 0

    @property
    def failed(self) -> bool:
        """Whether the code did not come to its end."""
        return bool(self.ended) or self.code != 0


def run_confined(code: str, *, seconds: float, user: int | None = None) -> Confined:
    """Run Python code confined. UserError where that is not possible here.

    `user` is the user id that root becomes first; others stay who they are.
    """
    return _run(_command(_python()), code, seconds=seconds, user=user)


@lru_cache(maxsize=1)
def confinement() -> str:
    """How code is confined here, in words. UserError where it cannot be: nothing runs then."""
    if sys.platform != "linux" or shutil.which("bwrap") is None:
        raise UserError(
            "there is no bubblewrap (bwrap), without which no code is run",
            next_step=INSTALL if sys.platform == "linux" else "It needs Linux.",
        )
    found = _run(_command(_python()), TRIAL, seconds=20.0, user=None)
    if found.output.strip() != "confined":
        said = " ".join(found.output.split())[:200] or found.ended
        raise UserError(
            f"bubblewrap does not confine code here: {said}",
            next_step="Ordinary users must be allowed user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1).",
        )
    return "bubblewrap"


# Each line must fail inside; "confined" is printed where all of them did.
TRIAL = """
import os, socket
open_doors = []
def door(name, act):
    try:
        act()
    except (OSError, ValueError):
        return
    open_doors.append(name)
door("home", lambda: os.listdir("/root") or os.listdir("/home"))
door("etc", lambda: open("/etc/passwd").read())
door("write", lambda: open("/usr/x", "w"))
door("network", lambda: socket.create_connection(("1.1.1.1", 53), 1))
if [name for _, name in socket.if_nameindex() if name != "lo"]:
    open_doors.append("interfaces")
door("root", lambda: os.setuid(0))
if len([name for name in os.listdir("/proc") if name.isdigit()]) > 3:
    open_doors.append("processes")
print("confined" if not open_doors and os.getuid() != 0 else f"open: {open_doors}")
"""


def _command(python: str) -> list[str]:
    bound: list[str] = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        path = Path("/", name)
        if path.is_symlink():
            bound += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            bound += ["--ro-bind", str(path), str(path)]
    prelude = PRELUDE.format(
        cpu=CPU_SECONDS, memory=MEMORY_BYTES, scratch=SCRATCH_BYTES, processes=PROCESSES
    )
    return [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
        "--new-session", "--clearenv", "--cap-drop", "ALL", "--uid", str(NOBODY),
        "--gid", str(NOBODY), "--hostname", "sandbox", *bound, "--proc", "/proc", "--dev", "/dev",
        "--size", str(SCRATCH_BYTES), "--tmpfs", "/tmp", "--size", "65536", "--tmpfs", "/dev/shm",
        "--remount-ro", "/", "--chdir", "/tmp", "--setenv", "HOME", "/tmp",
        "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8",
        "--", python, "-I", "-B", "-c", prelude,
    ]  # fmt: skip


@lru_cache(maxsize=1)
def _python() -> str:
    """A Python below /usr, which is all that is there inside."""
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in (own, "python3"):
        for folder in ("/usr/bin", "/usr/local/bin"):
            path = Path(folder, name)
            if path.exists() and str(path.resolve()).startswith("/usr/"):
                return str(path)
    raise UserError(
        "no Python lies below /usr, and code that is run sees nothing else",
        next_step="Install one: apt-get install python3",
    )


def _run(command: Sequence[str], code: str, *, seconds: float, user: int | None) -> Confined:
    settings: dict[str, Any] = {}
    if os.getuid() == 0:
        identity = NOBODY if user is None else user
        settings = {"user": identity, "group": identity, "extra_groups": []}
    process = subprocess.Popen(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True, close_fds=True, **settings,
    )  # fmt: skip
    try:
        return _watched(process, code.encode("utf-8", "replace"), seconds)
    finally:
        _end(process)


def _watched(process: subprocess.Popen[bytes], code: bytes, seconds: float) -> Confined:
    """Feed the code, and read until the end, the time or the most output."""
    assert process.stdin is not None
    assert process.stdout is not None
    ends, ended, found = time.monotonic() + seconds, "", bytearray()
    with suppress(BrokenPipeError):
        process.stdin.write(code)
        process.stdin.close()
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not ended:
            left = ends - time.monotonic()
            if left <= 0:
                ended = f"ended after {seconds:g} seconds"
            elif selector.select(min(left, 0.5)):
                piece = process.stdout.read(65_536)
                if piece == b"":
                    break
                found += piece or b""
                if len(found) > MOST_OUTPUT:
                    ended = f"ended after {MOST_OUTPUT:,} bytes of output"
            elif process.poll() is not None:
                break
    if ended:
        _end(process)
    try:
        code_of = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        _end(process)
        code_of = process.wait()
    text = bytes(found[:MOST_OUTPUT]).decode("utf-8", "replace")
    if not ended and code_of in (-signal.SIGKILL, 128 + signal.SIGKILL, 128 + signal.SIGXCPU):
        ended = "ended at a limit of time or memory"
    return Confined(text, ended, code_of)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the sandbox with all that runs in it, and close its pipes."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
