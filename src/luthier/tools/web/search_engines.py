"""Search engines behind one protocol: what is asked, and how the reply is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A request to an engine."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A result: its title, address and a few words."""

    title: str
    url: str
    words: str


class SearchEngine(Protocol):
    """An engine: `variable` names the environment variable of its key ("" where it needs none),
    `home` is its address."""

    variable: str
    home: str

    def request(self, base: str, query: str, *, count: int, key: str) -> SearchQuery:
        """What is asked."""

    def hits(self, reply: Any) -> list[SearchHit]:
        """The results in a reply that was JSON."""


class SearxNG:
    """SearXNG, which anybody can run: docs.searxng.org/dev/search_api.html."""

    variable, home = "", ""

    def request(self, base: str, query: str, *, count: int, key: str) -> SearchQuery:
        """A search with its reply as JSON, which the server's settings must allow."""
        asked = urlencode({"q": query, "format": "json"})
        return SearchQuery("GET", f"{base}/search?{asked}", {"accept": "application/json"})

    def hits(self, reply: Any) -> list[SearchHit]:
        """`results`, each with title, url and content."""
        return [_hit(r, "title", "url", "content") for r in _listed(reply, "results")]


class Brave:
    """The Brave Search API: api-dashboard.search.brave.com/app/documentation."""

    variable, home = "BRAVE_API_KEY", "https://api.search.brave.com/res/v1"

    def request(self, base: str, query: str, *, count: int, key: str) -> SearchQuery:
        """A web search; the key is a header."""
        asked = urlencode({"q": query, "count": count})
        headers = {"accept": "application/json", "x-subscription-token": key}
        return SearchQuery("GET", f"{base}/web/search?{asked}", headers)

    def hits(self, reply: Any) -> list[SearchHit]:
        """`web.results`, each with title, url and description."""
        web = reply.get("web") if isinstance(reply, dict) else None
        return [_hit(r, "title", "url", "description") for r in _listed(web, "results")]


class Tavily:
    """The Tavily search API: docs.tavily.com."""

    variable, home = "TAVILY_API_KEY", "https://api.tavily.com"

    def request(self, base: str, query: str, *, count: int, key: str) -> SearchQuery:
        """A search; the key is a bearer token."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        body = json.dumps({"query": query, "max_results": count}).encode()
        return SearchQuery("POST", f"{base}/search", headers, body)

    def hits(self, reply: Any) -> list[SearchHit]:
        """`results`, each with title, url and content."""
        return [_hit(r, "title", "url", "content") for r in _listed(reply, "results")]


ENGINES: Mapping[str, SearchEngine] = {"searxng": SearxNG(), "brave": Brave(), "tavily": Tavily()}


def _listed(reply: Any, key: str) -> list[dict[str, Any]]:
    found = reply.get(key) if isinstance(reply, dict) else None
    return [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []


def _hit(result: Mapping[str, Any], title: str, url: str, words: str) -> SearchHit:
    return SearchHit(*(" ".join(str(result.get(k) or "").split()) for k in (title, url, words)))
