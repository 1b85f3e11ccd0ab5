"""Search in the web, as a tool."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from luthier.errors import UserError, from_extra
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure
from luthier.tools.web.search_engines import ENGINES, SearchEngine

MOST_HITS = 10
SHOWN = 300  # characters of a result


class WebSearch:
    """Kind of tools: `search:searxng#http://localhost:8888`, `search:brave`, `search:tavily`.

    Keys come from BRAVE_API_KEY and TAVILY_API_KEY; an address after `#` replaces the engine's own.
    """

    card: ClassVar[ToolCard] = ToolCard(
        does="searches the web: titles, addresses and a few words of the results",
        may="send the query out, to the engine that you name",
        needs="luthier[tools]; a SearXNG server, or BRAVE_API_KEY or TAVILY_API_KEY",
        example="search:searxng#http://localhost:8888",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The search. UserError for an engine there is not, or without its key."""
        name, _, base = address.partition("#")
        engine = ENGINES.get(name.strip().lower())
        if engine is None:
            raise UserError(f"there is no search engine {name!r}", choices=tuple(ENGINES))
        base = base.rstrip("/") or engine.home
        if not base:
            raise UserError(
                f"search:{name} needs the address of a server",
                next_step=f"Write search:{name}#http://localhost:8888.",
            )
        key = os.environ.get(engine.variable, "") if engine.variable else ""
        if engine.variable and not key:
            raise UserError(
                f"search:{name} needs the key {engine.variable}",
                next_step=f"Set it: export {engine.variable}=…",
            )
        with from_extra("tools", "search needs httpx"):
            from luthier.tools.web.guarded_http import GuardedHttp, check_url
        try:
            _, host, port = check_url(base)
        except ToolFailure as failure:
            raise UserError(
                f"search:{address}: {failure}", next_step="Give http(s)://…"
            ) from failure
        client = GuardedHttp([(host, port)], same_host=True)

        def run(arguments: Mapping[str, Any]) -> str:
            count = int(arguments.get("count", 5))
            return found_words(client, engine, base, str(arguments["query"]), count=count, key=key)

        parameters = {
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": 400},
                "count": {"type": "integer", "minimum": 1, "maximum": MOST_HITS},
            },
            "required": ["query"],
            "additionalProperties": False,
        }
        tool = Tool(
            "web_search", "Searches the web.", parameters, run, outward=True,
            origin=f"search:{name}",
        )  # fmt: skip
        return ToolSource((tool,), close=client.close)


def found_words(
    client: Any, engine: SearchEngine, base: str, query: str, *, count: int, key: str
) -> str:
    """The results of a search, a line each. ToolFailure where the engine gives none."""
    asked = engine.request(base, query, count=count, key=key)
    reply = client.ask(asked.method, asked.url, headers=asked.headers, content=asked.content)
    if reply.status >= 400:
        raise ToolFailure(f"The search engine answers with status {reply.status}.")
    try:
        hits = engine.hits(json.loads(reply.text))
    except (ValueError, RecursionError) as error:
        raise ToolFailure("The search engine's reply is no JSON.") from error
    lines = [f"[{n}] {h.title} ({h.url}): {h.words[:SHOWN]}" for n, h in enumerate(hits, 1)]
    return "\n".join(lines[:count]) or "Nothing was found."
