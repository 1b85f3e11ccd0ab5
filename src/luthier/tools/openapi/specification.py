"""A specification as it is written: read, checked, its references put in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import yaml

from luthier.errors import UserError

MOST_BYTES = 20_000_000
DEEPEST = 12  # references inside references


class UnresolvedError(Exception):
    """A reference that leads nowhere."""


@dataclass(frozen=True, slots=True)
class Specification:
    """`content` is the document, `where` its file or address, `servers` the addresses of the
    service; `local`: it is a file of this machine."""

    content: Mapping[str, Any]
    where: str
    servers: tuple[str, ...]
    local: bool

    def resolved(self, value: Any, *, inside: tuple[str, ...] = ()) -> Any:
        """A part with its references put in; one that holds itself ends in anything.

        UnresolvedError for a reference that leads nowhere, or out of the document. `inside` are
        those that lead here.
        """
        if isinstance(value, Mapping):
            target = value.get("$ref")
            if isinstance(target, str):
                if target in inside or len(inside) > DEEPEST:
                    return {}
                return self.resolved(self._at(target), inside=(*inside, target))
            return {k: self.resolved(v, inside=inside) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolved(v, inside=inside) for v in value]
        return value

    def _at(self, target: str) -> Any:
        if not target.startswith("#/"):
            raise UnresolvedError(target)
        place: Any = self.content
        for step in target[2:].split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, Mapping) or key not in place:
                raise UnresolvedError(target)
            place = place[key]
        return place


def read_specification(address: str, *, server: str) -> Specification:
    """The specification in a file or at an address. UserError for what is none of OpenAPI 3."""
    remote = address.startswith(("http://", "https://"))
    text = _fetched(address) if remote else _from_file(Path(address))
    try:
        content = json.loads(text) if text.lstrip()[:1] == "{" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"{address} is neither JSON nor YAML: {str(error)[:120]}",
            next_step="Give an OpenAPI specification.",
        ) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("paths"), Mapping):
        raise UserError(f"{address} has no paths, as an OpenAPI specification has",
                        next_step="Give an OpenAPI 3 document.")  # fmt: skip
    version = str(content.get("openapi", content.get("swagger", "")))
    if not version.startswith("3"):
        raise UserError(
            f"{address} is of version {version or 'none'}; OpenAPI 3 is read",
            next_step="Convert it (a Swagger 2 file: converter.swagger.io).",
        )
    return Specification(content, address, _servers(content, address, server, remote), not remote)


def _servers(
    content: Mapping[str, Any], address: str, server: str, remote: bool
) -> tuple[str, ...]:
    if server:
        return (server.rstrip("/"),)
    listed = content.get("servers")
    urls = [
        str(s["url"])
        for s in listed or ()
        if isinstance(s, Mapping) and isinstance(s.get("url"), str)
    ]
    found = [urljoin(address, url) if remote else url for url in urls or (["/"] if remote else [])]
    usable = tuple(url.rstrip("/") for url in found if url.startswith(("http://", "https://")))
    if not usable or "{" in usable[0]:
        raise UserError(
            f"{address} does not say where its service is",
            next_step=f"Write openapi:{address}#http://host:port.",
        )
    return usable


def _from_file(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES:,} bytes")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the specification {path} cannot be read: {error}",
            next_step="Give the path of a JSON or YAML file, or its address.",
        ) from error


def _fetched(address: str) -> str:
    from luthier.tools.toolbox import ToolFailure
    from luthier.tools.web.guarded_http import GuardedHttp, check_url

    try:
        _, host, port = check_url(address)
        client = GuardedHttp([(host, port)], same_host=True)
        reply = client.ask("GET", address)
        client.close()
    except ToolFailure as failure:
        raise UserError(f"the specification {address} cannot be read: {failure}") from failure
    if reply.status >= 400 or reply.cut:
        raise UserError(f"{address} answers with status {reply.status}, or with too much")
    return reply.text
