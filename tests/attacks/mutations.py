"""Random damage to files: bytes that change, go, or come twice, and words of the format."""

from __future__ import annotations

import random

INTERESTING = (
    b"\0", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b"'", b'"', b"{", b"}", b"[", b"]", b":", b",",
    b"-", b"\n", b"\r", b"\t", b"&a", b"*a", b"!!python/object:os.system", b"null", b"true", b"NaN",
    b"1e999", b"9" * 400, b"-1", b"0", b"../..", b"/dev/zero", b"http://127.0.0.1:9/v1#m", b"~",
    b"|",
    b"\xe2\x80\xae", b"\x1b[2J", b"<", b">", b"</", b"PK\x03\x04", b"%", b"$", b"${HOME}", b"#",
)  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with one to six pieces of damage."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(found) + 1)
        length = min(len(found) - at, rng.choice((1, 1, 2, 4, 16, 64, 256)))
        kind = rng.randrange(7)
        if kind == 0 and found:  # other bytes
            for i in range(at, at + length):
                found[i] = rng.randrange(256)
        elif kind == 1:  # gone
            del found[at : at + length]
        elif kind == 2:  # twice
            found[at:at] = found[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 3:  # cut short
            if rng.random() < 0.3:
                del found[at:]
        elif kind == 4:  # a piece from elsewhere
            other = rng.randrange(len(found) + 1)
            found[at : at + length] = found[other : other + length]
        else:  # something that means something
            found[at : at + rng.choice((0, length))] = rng.choice(INTERESTING) * rng.choice(
                (1, 1, 20)
            )
    return bytes(found)
