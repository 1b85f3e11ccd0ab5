"""The operations of a specification: their arguments, and how a call becomes a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from luthier.errors import UserError
from luthier.tools.arguments import checked_schema_of
from luthier.tools.openapi.specification import Specification, UnresolvedError
from luthier.tools.tool import usable_name

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
READING = ("get", "head", "options")
BODY = "body"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    `places` says of each argument where it goes: "path", "query", "header", "cookie" or "body".
    `whole_body`: the argument `body` is the request's body; else its fields are arguments.
    `security` holds alternatives, each the names of the schemes that are needed together.
    """

    name: str
    method: str
    path: str
    description: str
    parameters: Mapping[str, Any]
    places: Mapping[str, str]
    security: tuple[tuple[str, ...], ...]
    whole_body: bool = False

    def request(
        self, base: str, arguments: Mapping[str, Any]
    ) -> tuple[str, dict[str, str], bytes | None]:
        """The address, headers and body of a call."""
        path, query, headers, body = self.path, list[tuple[str, str]](), dict[str, str](), {}
        cookies: list[str] = []
        for name, value in arguments.items():
            place = self.places.get(name)
            if place == "path":
                # A value stays one segment: "..", "/" and "?" lead nowhere else.
                segment = quote(_text(value), safe="")
                path = path.replace(f"{{{name}}}", "%2E%2E" if segment == ".." else segment)
            elif place == "query":
                values = value if isinstance(value, list) else [value]
                query += [(name, _text(v)) for v in values]
            elif place == "header":
                headers[name] = " ".join(_text(value).split())
            elif place == "cookie":
                cookies.append(f"{name}={quote(_text(value))}")
            else:
                body[name] = value
        if cookies:
            headers["cookie"] = "; ".join(cookies)
        content = None
        if body:
            headers["content-type"] = "application/json"
            content = json.dumps(body.get(BODY) if self.whole_body else body).encode()
        return f"{base}{path}" + (f"?{urlencode(query)}" if query else ""), headers, content


def operations(spec: Specification) -> tuple[tuple[Operation, ...], tuple[str, ...]]:
    """The operations that can be called, and notes on those that cannot."""
    found: dict[str, Operation] = {}
    notes: list[str] = []
    for path, method, shared, about in _listed(spec):
        name = usable_name(str(about.get("operationId") or re.sub(r"\W+", "_", f"{method} {path}")))
        try:
            one = _operation(spec, name, method, path, shared=shared, about=about)
        except UnresolvedError as error:
            notes.append(f"{name} is left out: the reference {error} leads nowhere.")
            continue
        except (UserError, TypeError, KeyError, AttributeError) as error:
            reason = error.problem if isinstance(error, UserError) else "it is not described well"
            notes.append(f"{name} is left out: {reason}.")
            continue
        if name in found:
            notes.append(f"{name} is there twice; the first one is used.")
            continue
        found[name] = one
    return tuple(found.values()), tuple(notes)


def _listed(spec: Specification) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    for path, item in spec.content["paths"].items():
        if not isinstance(item, Mapping) or not str(path).startswith("/"):
            continue
        for method in METHODS:
            about = item.get(method)
            if isinstance(about, Mapping):
                yield str(path), method, item.get("parameters") or [], about


def _operation(
    spec: Specification, name: str, method: str, path: str, *,
    shared: Any, about: Mapping[str, Any],
) -> Operation:  # fmt: skip
    properties: dict[str, Any] = {}
    places: dict[str, str] = {}
    required: list[str] = []
    for one in [*shared, *(about.get("parameters") or [])]:
        parameter = spec.resolved(one)
        key = str(parameter["name"])
        schema = dict(parameter.get("schema") or {})
        if parameter.get("description"):
            schema["description"] = str(parameter["description"])
        properties[key], places[key] = schema, str(parameter["in"])
        if parameter.get("required") or parameter["in"] == "path":
            required.append(key)
    body, needed = _body(spec, about)
    whole = body is not None and (
        body.get("type") != "object"
        or not body.get("properties")
        or bool(set(body["properties"]) & set(properties))
    )
    if body is not None and whole:
        properties[BODY] = body
        required += [BODY] if needed else []
    elif body is not None:
        properties |= body["properties"]
        required += list(body.get("required") or ()) if needed else []
    words = [about.get("summary"), about.get("description")]
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(dict.fromkeys(required)),
        "additionalProperties": False,
    }
    return Operation(
        name, method, path, " ".join(" ".join(str(w) for w in words if w).split())[:600],
        checked_schema_of(schema, of=name), places,
        _security(about.get("security", spec.content.get("security"))), whole,
    )  # fmt: skip


def _body(spec: Specification, about: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The schema of a JSON body, and whether one is needed."""
    if not about.get("requestBody"):
        return None, False
    body = spec.resolved(about["requestBody"])
    content = body.get("content") or {}
    kind = next((k for k in content if k.split(";")[0].strip().endswith("json")), None)
    if kind is None:
        raise UserError(f"it takes no JSON, but {', '.join(content) or 'nothing'}")
    return dict(content[kind].get("schema") or {}), bool(body.get("required"))


def _security(listed: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(listed, list):
        return ()
    return tuple(tuple(map(str, one)) for one in listed if isinstance(one, Mapping))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if value is not None else ""
