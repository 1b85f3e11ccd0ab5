"""The settings of a server: one file, and options of the command that stand in for its lines."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from luthier.errors import UserError, did_you_mean
from luthier.serving.guard.api_keys import ApiKeys
from luthier.serving.guard.audit_log import AuditLog
from luthier.serving.guard.browser_safety import LOOPBACK, is_loopback
from luthier.serving.guard.gate import BODY_SECONDS, MOST_BYTES, GateRules
from luthier.serving.guard.rate_limits import RateLimits
from luthier.serving.model_service import MOST_UNDER_WAY


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Every key of a file for `luthier serve --config`.

    **Fields**

    - `runs`: run folders, technique folders, or bases.
    - `root`: the folder of runs that models may be loaded from while the server runs.
    - `host`, `port`: where it listens; another host than this machine needs `keys`.
    - `names`: more host names it answers to.
    - `base`: the base, where it is no longer at its place.
    - `keys`: a file of `luthier key`.
    - `requests_per_minute`: of one client; none: no limit.
    - `most_under_way`: requests that are taken at once.
    - `most_bytes`, `body_seconds`: the largest body, and the longest pause within one.
    - `audit_log`: a file for who did what.
    - `log`: "text" or "json".
    - `studio`: the pages at /.
    - `tasks`: task files, or names of bundled tasks, in which the prompt lab finds the data of a
      run; a run remembers its own, where that still is at its place.
    - `allow_code`: those files may name Python of their own.
    """

    runs: tuple[str, ...] = ()
    root: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    base: str | None = None
    keys: str | None = None
    requests_per_minute: int | None = None
    most_under_way: int = MOST_UNDER_WAY
    most_bytes: int = MOST_BYTES
    body_seconds: float = BODY_SECONDS
    audit_log: str | None = None
    log: str = "text"
    studio: bool = True
    tasks: tuple[str, ...] = ()
    allow_code: bool = False

    def with_options(self, **options: Any) -> ServerSettings:
        """The same with the options that were given."""
        return replace(self, **{k: v for k, v in options.items() if v is not None})

    def rules(self) -> GateRules:
        """What the gate holds requests to. UserError for an address that others reach where there
        are no keys, and for a file that cannot be read."""
        keys = None if self.keys is None else ApiKeys(Path(self.keys))
        if not is_loopback(self.host) and (keys is None or not len(keys)):
            raise UserError(
                f"--host {self.host} is reached from other machines, and there are no keys",
                choices=("--host 127.0.0.1", "--keys FILE"),
                next_step="Make a key: luthier key NAME --file keys.json",
            )
        if self.log not in ("text", "json"):
            raise UserError(f"--log {self.log!r}", choices=("text", "json"))
        local = frozenset({*LOOPBACK, self.host, *self.names})
        return GateRules(
            keys=keys,
            hosts=local if is_loopback(self.host) else None,
            rates=RateLimits(self.requests_per_minute),
            most_bytes=self.most_bytes,
            body_seconds=self.body_seconds,
            audit=AuditLog(None if self.audit_log is None else Path(self.audit_log)),
        )


def read_settings(path: Path) -> ServerSettings:
    """The settings of a YAML file. UserError, with the key, for anything else."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(
            f"--config {path} holds no keys", next_step="Write lines such as port: 8000."
        )
    hints, names = get_type_hints(ServerSettings), [f.name for f in fields(ServerSettings)]
    values = {}
    for key, value in found.items():
        if key not in names:
            raise UserError(
                f"{path}: unknown key {key!r}", choices=names,
                next_step=did_you_mean(str(key), names),
            )  # fmt: skip
        if hints[key] == tuple[str, ...]:
            value = (value,) if isinstance(value, str) else tuple(map(str, value or ()))
        elif not isinstance(value, hints[key]) and not (hints[key] is float and type(value) is int):
            raise UserError(f"{path}: {key} is {value!r}")
        values[key] = value
    return ServerSettings(**values)
