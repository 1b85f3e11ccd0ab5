"""The browser: a page as readable text with its links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urldefrag, urljoin, urlsplit

from luthier.errors import UserError, from_extra
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure

MOST_TEXT = 6_000  # characters of a page that are shown at once
MOST_LINKS = 30
_FURNITURE = ("script", "style", "noscript", "template", "svg", "iframe", "form", "nav", "aside")


class WebBrowser:
    """Kind of tools: `browser`. `browser:localhost:8000` may visit that host as well, which is not
    public."""

    card: ClassVar[ToolCard] = ToolCard(
        does="fetches a page and returns its readable text and its links",
        may="send the address it visits out; never to a private network that you did not name",
        needs="luthier[tools]; browser:localhost:8000 adds a host that is not public",
        example="browser",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The browser. `address` names hosts, with ports, that need not be public."""
        with from_extra("tools", "browser needs httpx"):
            from luthier.tools.web.guarded_http import GuardedHttp
        client = GuardedHttp([_host(part) for part in address.split(",") if part.strip()])

        def run(arguments: Mapping[str, Any]) -> str:
            return visit(client, str(arguments["url"]), start=int(arguments.get("start", 0)))

        parameters = {
            "type": "object",
            "properties": {
                "url": {"type": "string", "minLength": 8, "maxLength": 2_000},
                "start": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "the character of the text to go on from",
                },
            },
            "required": ["url"],
            "additionalProperties": False,
        }
        tool = Tool(
            "browse", "Fetches a web page and returns its text and links.", parameters, run,
            outward=True, origin="browser",
        )  # fmt: skip
        return ToolSource((tool,), close=client.close)


def visit(client: Any, url: str, *, start: int = 0) -> str:
    """The text of a page, from a character on, and its links."""
    reply = client.ask("GET", url)
    if reply.status >= 400:
        raise ToolFailure(f"The page answers with status {reply.status}.")
    if reply.binary:
        return f"({reply.kind or 'a file'} of {reply.binary:,} bytes or more, which is no text)"
    is_html = "html" in reply.kind or reply.text.lstrip()[:1] == "<"
    title, text, links = readable(reply.text, reply.url) if is_html else ("", reply.text, [])
    shown = text[start : start + MOST_TEXT]
    more = len(text) - start - len(shown)
    lines = [f"{title or reply.url} ({reply.url})", shown]
    if more > 0:
        lines.append(f"({more:,} characters more: start={start + len(shown)})")
    if links and not start:
        lines.append("Links: " + "; ".join(f"{words}: {to}" for words, to in links))
    return "\n".join(lines)


def readable(html: str, base: str) -> tuple[str, str, list[tuple[str, str]]]:
    """The title, the text without menus and scripts, and (words, address) of links."""
    from bs4 import BeautifulSoup, Comment

    soup = BeautifulSoup(html, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for comment in soup.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for element in soup(_FURNITURE):
        element.decompose()
    for element in soup.find_all(hidden=True):
        element.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    links: list[tuple[str, str]] = []
    for anchor in body.find_all("a", href=True):
        to = urldefrag(urljoin(base, str(anchor["href"])))[0]
        words = " ".join(anchor.get_text(" ", strip=True).split())[:80]
        if urlsplit(to).scheme in ("http", "https") and words and to not in {t for _, t in links}:
            links.append((words, to))
    lines = [" ".join(line.split()) for line in body.get_text("\n").splitlines()]
    return title[:200], "\n".join(line for line in lines if line), links[:MOST_LINKS]


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.strip().removeprefix("http://").rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f"browser:{text} names no host with its port", next_step="Write browser:localhost:8000."
        )
    return host.strip("[]"), int(port)
