"""Escapes from the sandbox: files, sockets, processes, memory, output, time. None passes, as root
and as an ordinary user."""

# ruff: noqa: E501 - escapes, a line each
from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luthier.content import ToolCall
from luthier.errors import UserError
from luthier.tools import open_toolbox
from luthier.tools.sandbox import bubblewrap, confinement, run_confined

try:
    confinement()
    MISSING = ""
except UserError as error:
    MISSING = str(error.problem)
needs_sandbox = pytest.mark.skipif(bool(MISSING), reason=f"no sandbox: {MISSING}")
ORDINARY = 12345  # a user of no name
SECRET = "host-secret-2f7a"


@pytest.fixture(scope="module")
def host():
    """What an escape would find: a file, a TCP server, an abstract socket, a process, a variable."""
    secret = Path(f"/tmp/luthier-secret-{os.getpid()}")
    secret.write_text(SECRET)
    secret.chmod(0o644)
    os.environ["LUTHIER_TEST_SECRET"] = SECRET
    server = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(f"\0luthier-{os.getpid()}")
    local.listen()
    touched = []

    def listen(one):
        try:
            while True:
                connection, _ = one.accept()
                touched.append("connected")
                connection.sendall(SECRET.encode())
                connection.close()
        except OSError:
            return

    for one in (server, local):
        threading.Thread(target=listen, args=(one,), daemon=True).start()
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {
        "FILE": str(secret), "PORT": str(server.getsockname()[1]),
        "PID": str(victim.pid), "ABSTRACT": f"luthier-{os.getpid()}",
    }  # fmt: skip
    assert victim.poll() is None, "a process of the host was ended"
    victim.kill()
    victim.wait()
    server.close()
    local.close()
    secret.unlink()
    del os.environ["LUTHIER_TEST_SECRET"]
    assert not touched


# Each prints what it should not have, or ESCAPED where an act should have failed.
ESCAPES = {
    # files
    "read a file of the host": "print(open('FILE').read())",
    "read through the root of a process": "print(open('/proc/1/root/FILE').read())",
    "read through its own root": "print(open('/proc/self/root' + 'FILE').read())",
    "read /etc/passwd": "print('ESCAPED', open('/etc/passwd').read())",
    "read /etc/shadow": "print('ESCAPED', open('/etc/shadow').read())",
    "list homes": "import os; print('ESCAPED', os.listdir('/root') + os.listdir('/home'))",
    "walk for the secret": "import os\nfor d, _, fs in os.walk('/'):\n if 'luthier-secret' in ' '.join(fs): print('ESCAPED')",
    "write to /usr": "open('/usr/lib/x', 'w'); print('ESCAPED')",
    "write to the root": "open('/x', 'w'); print('ESCAPED')",
    "replace python": "import os, sys; os.rename(sys.executable, '/usr/bin/x'); print('ESCAPED')",
    "follow a symlink out": "import os; os.symlink('FILE', '/tmp/l'); print(open('/tmp/l').read())",
    "follow a relative link": "import os; os.symlink('../../../..FILE', '/tmp/l'); print(open('/tmp/l').read())",
    "hard link": "import os; os.link('FILE', '/tmp/h'); print(open('/tmp/h').read())",
    "leave by chroot": "import os; os.mkdir('/tmp/c'); os.chroot('/tmp/c'); print('ESCAPED')",
    "leave by dotdot": "import os; os.chdir('/tmp/../../../..'); print(open('.' + 'FILE').read())",
    "leave by an open folder": "import os\nfor n in range(3, 64):\n try: print('ESCAPED', os.listdir(n))\n except OSError: pass",
    "read inherited files": "import os\nfor n in range(3, 64):\n try: print('ESCAPED', os.read(n, 100))\n except OSError: pass",
    "mount the host": "import ctypes; l = ctypes.CDLL(None, use_errno=True)\nprint('ESCAPED' if l.mount(b'/proc/1/root', b'/tmp', None, 4096, None) == 0 else 'no')",
    "mount a new /proc": "import ctypes, os; os.mkdir('/tmp/p'); l = ctypes.CDLL(None)\nprint('ESCAPED' if l.mount(b'proc', b'/tmp/p', b'proc', 0, None) == 0 else 'no')",
    "remount writable": "import ctypes; l = ctypes.CDLL(None)\nprint('ESCAPED' if l.mount(None, b'/', None, 32, None) == 0 else 'no')",
    "unmount": "import ctypes; l = ctypes.CDLL(None)\nprint('ESCAPED' if l.umount2(b'/usr', 2) == 0 else 'no')",
    "read a disk": "import os\nfor n in os.listdir('/dev'):\n if n.startswith(('sd', 'vd', 'nvme', 'mem', 'kmsg')): print('ESCAPED', n)",
    "make a device": "import os; os.mknod('/tmp/d', 0o20666, os.makedev(1, 1)); print('ESCAPED', open('/tmp/d', 'rb').read(8))",
    "fill the disk": "f = open('/tmp/f', 'wb')\nfor _ in range(100): f.write(b'x' * 2**20); f.flush()\nprint('ESCAPED')",
    "fill it with many files": "for n in range(200): open(f'/tmp/{n}', 'wb').write(b'x' * 2**20)\nprint('ESCAPED')",
    "fill shared memory": "open('/dev/shm/f', 'wb').write(b'x' * 2**24); print('ESCAPED')",
    "write sysctl": "open('/proc/sys/kernel/hostname', 'w').write('x'); print('ESCAPED')",
    "core pattern": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/x'); print('ESCAPED')",
    "trigger sysrq": "open('/proc/sysrq-trigger', 'w').write('b'); print('ESCAPED')",
    "read kernel memory": "print('ESCAPED', open('/proc/kcore', 'rb').read(8))",
    # the network
    "connect to a server here": "import socket; print(socket.create_connection(('127.0.0.1', PORT), 2).recv(99))",
    "connect by IPv6": "import socket; print(socket.create_connection(('::1', PORT), 2).recv(99))",
    "connect outside": "import socket; socket.create_connection(('1.1.1.1', 53), 2); print('ESCAPED')",
    "send a datagram": "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('8.8.8.8', 53)); print('ESCAPED')",
    "resolve a name": "import socket; socket.getaddrinfo('example.org', 80); print('ESCAPED')",
    "fetch a page": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:PORT', timeout=2); print('ESCAPED')",
    "abstract socket": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0ABSTRACT'); print(s.recv(99))",
    "raw socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('ESCAPED')",
    "packet socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('ESCAPED')",
    "docker socket": "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock'); print('ESCAPED')",
    "host interfaces": "import socket\nprint('ESCAPED' if [n for _, n in socket.if_nameindex() if n != 'lo'] else 'no')",
    # processes, signals, rights
    "signal a process of the host": "import os; os.kill(PID, 9); print('ESCAPED')",
    "signal everybody": "import os\nos.fork() or (os.kill(-1, 9), print('no'))",
    "see processes of the host": "import os\nprint('ESCAPED' if len([n for n in os.listdir('/proc') if n.isdigit()]) > 4 else 'no')",
    "read their environment": "import glob\nfor p in glob.glob('/proc/[0-9]*/environ'):\n try: print(open(p).read())\n except OSError: pass",
    "its own environment": "import os; print(os.environ, os.popen('env').read())",
    "trace a process of the host": "import ctypes; l = ctypes.CDLL(None)\nprint('ESCAPED' if l.ptrace(16, PID, 0, 0) == 0 else 'no')",
    "become root": "import os; os.setuid(0); print('ESCAPED')",
    "become root in a new namespace": "import ctypes; l = ctypes.CDLL(None)\nprint('ESCAPED' if l.unshare(0x10000000) == 0 else 'no')",
    "enter another namespace": "import os, ctypes\nf = os.open('/proc/1/ns/net', 0); print('ESCAPED' if ctypes.CDLL(None).setns(f, 0) == 0 and os.listdir('/sys') else 'no')",
    "sudo": "import subprocess; r = subprocess.run(['sudo', '-n', 'id'], capture_output=True); print('ESCAPED' if b'uid=0' in r.stdout else 'no')",
    "su": "import subprocess; r = subprocess.run(['su', '-c', 'id'], capture_output=True, stdin=-3); print('ESCAPED' if b'uid=0' in r.stdout else 'no')",
    "raise the limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)); print('ESCAPED')",
    "raise the processes": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999)); print('ESCAPED')",
    "set the clock": "import time; time.clock_settime(0, 0); print('ESCAPED')",
    "set the host's name": "import socket; socket.sethostname('x'); print('ESCAPED')",
    "load a module of the kernel": "import ctypes; l = ctypes.CDLL(None)\nprint('ESCAPED' if l.syscall(175, b'', 0, b'') == 0 else 'no')",
    "type into the terminal": "import fcntl, termios\nf = open('/dev/tty'); fcntl.ioctl(f, termios.TIOCSTI, b'x'); print('ESCAPED')",
    "imports from the host": "import sys; sys.path.append('/work'); sys.path.append('/root'); import luthier; print('ESCAPED')",
    "third-party code of the host": "import numpy; print('ESCAPED')",
    # more than its share
    "fork bomb": "import os\nfor _ in range(40): os.fork()\nprint('ESCAPED')",
    "threads without end": "import threading, time\nfor _ in range(500): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nprint('ESCAPED')",
    "memory": "x = bytearray(2**30); print('ESCAPED')",
    "memory bit by bit": "x = []\nwhile True: x.append(bytearray(2**22))",
    "memory by map": "import mmap; m = mmap.mmap(-1, 2**31); print('ESCAPED')",
    "deep recursion": "import sys; sys.setrecursionlimit(10**8)\ndef f(): f()\nf()",
    "output flood": "while True: print('x' * 9999)",
    "output by many processes": "import os\nos.fork(); os.fork()\nwhile True: os.write(1, b'y' * 9999)",
    "time": "while True: pass",
    "time in sleep": "import time; time.sleep(600)",
    "time with signals off": "import signal\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n except (OSError, ValueError): pass\nwhile True: pass",
    "outlive its parent": "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  while True: time.sleep(1)\nprint('left')",
    "bytes that are no text": "import sys; sys.stdout.buffer.write(bytes(range(256)))",
}  # fmt: skip


@needs_sandbox
@pytest.mark.parametrize("user", [None, ORDINARY], ids=["default", "another-user"])
@pytest.mark.parametrize("name", ESCAPES)
def test_no_escape_passes(host, name, user) -> None:
    if user is not None and os.getuid() != 0:
        pytest.skip("only root can become another user")
    code = ESCAPES[name]
    for word, value in host.items():
        code = code.replace(word, value)
    began = time.monotonic()
    found = run_confined(code, seconds=2.0, user=user)
    assert time.monotonic() - began < 60, "it is killed in the end"
    assert SECRET not in found.output
    assert "ESCAPED" not in found.output
    assert len(found.output) <= bubblewrap.MOST_OUTPUT
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"while True: time" in _read(p)]
    assert not left, "nothing of it runs on"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_sandbox
def test_code_that_means_no_harm_runs() -> None:
    assert (
        run_confined(
            "import math, json, statistics, datetime\nmath.factorial(20)", seconds=20
        ).output
        == "2432902008176640000\n"
    )
    assert (
        run_confined(
            "open('/tmp/a', 'w').write('x')\nprint(open('/tmp/a').read())", seconds=20
        ).output
        == "x\n"
    )
    with open_toolbox(["python"]) as box:
        session = box.start("")
        good, bad = session.run(
            [
                ToolCall("python", {"code": "sum(n*n for n in range(10))"}),
                ToolCall("python", {"code": "1/0"}),
            ]
        )
    assert (good.text, good.failed) == ("285", False)
    assert bad.failed
    assert "ZeroDivisionError" in bad.text


@needs_sandbox
def test_many_run_side_by_side() -> None:
    with open_toolbox(["python"]) as box:
        calls = [ToolCall("python", {"code": f"print({n})"}) for n in range(12)]
        assert [r.text for r in box.start("").run(calls)] == [str(n) for n in range(12)]


def test_without_a_sandbox_nothing_runs(monkeypatch) -> None:
    confinement.cache_clear()
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="bubblewrap"):
        open_toolbox(["python"])
    confinement.cache_clear()


@needs_sandbox
def test_a_sandbox_that_does_not_confine_is_refused(monkeypatch) -> None:
    """Python without bubblewrap before it fails the trial, and is never used."""
    confinement.cache_clear()
    bare = bubblewrap._command(bubblewrap._python())
    plain = bare[bare.index("--") + 1 :]
    monkeypatch.setattr(bubblewrap, "_command", lambda python: plain)
    with pytest.raises(UserError, match="does not confine"):
        open_toolbox(["python"])
    confinement.cache_clear()
