"""API keys with roles. A file holds their hashes; a key itself is shown once, when it is made.

Keys are 32 random bytes, so that one SHA-256 with a salt of its own is enough: there is nothing to
guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from luthier.errors import UserError

Role = Literal["use", "annotate", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
PREFIX = "lut-"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the file has it: who holds it, what it allows, a salt, and the hash of both."""

    name: str
    role: Role
    salt: str
    digest: str


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who asks, and what they may do."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this holder has the role or a higher one."""
        return ROLES.index(self.role) >= ROLES.index(role)


class ApiKeys:
    """The keys of a file; it is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: tuple[StoredKey, ...] = ()
        self._seen: tuple[int, int] | None = None
        self.find("")

    def find(self, key: str) -> KeyHolder | None:
        """Whose key it is; None for no key of this file. UserError where the file is unreadable."""
        self._read()
        found = None
        for stored in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(stored.digest, _digest(key, stored.salt)):
                found = KeyHolder(stored.name, stored.role)
        return found

    def __len__(self) -> int:
        return len(self._keys)

    def _read(self) -> None:
        try:
            facts = self.path.stat()
            seen = (facts.st_mtime_ns, facts.st_size)
            if seen != self._seen:
                self._keys, self._seen = read_keys(self.path), seen
        except OSError as error:
            raise UserError(
                f"the keys {self.path} cannot be read: {error.strerror}",
                next_step=f"Make one: luthier key NAME --file {self.path}.",
            ) from error


def read_keys(path: Path) -> tuple[StoredKey, ...]:
    """The keys of a file. UserError where it is no file of keys."""
    try:
        found = [StoredKey(**entry) for entry in json.loads(path.read_text("utf-8"))["keys"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no file of keys", next_step="Make a new one: luthier key NAME --file FILE."
        ) from error
    return tuple(found)


def add_key(path: Path, name: str, role: str) -> str:
    """Make a key, keep its hash in the file, and return it. A second key of one name replaces the
    first. UserError for a role there is not."""
    chosen = next((r for r in ROLES if r == role), None)
    if chosen is None:
        raise UserError(f"there is no role {role!r}", choices=ROLES)
    keys = [k for k in (read_keys(path) if path.is_file() else ()) if k.name != name]
    key, salt = PREFIX + secrets.token_urlsafe(32), secrets.token_hex(8)
    write_keys(path, [*keys, StoredKey(name, chosen, salt, _digest(key, salt))])
    return key


def remove_key(path: Path, name: str) -> None:
    """Forget a key. UserError where there is none of that name."""
    keys = read_keys(path)
    if name not in {key.name for key in keys}:
        raise UserError(f"there is no key {name!r}", choices=[key.name for key in keys])
    write_keys(path, [key for key in keys if key.name != name])


def write_keys(path: Path, keys: list[StoredKey]) -> None:
    """Write the file, readable by its owner alone; a server that runs sees the new one whole."""
    handle, scratch = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"keys": [asdict(key) for key in keys]}, stream, indent=2)
    os.replace(scratch, path)


def _digest(key: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).hexdigest()
