"""Search in an index of documents, as a tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from luthier.errors import UserError
from luthier.tools.tool import Tool, ToolCard, ToolSource

MOST_PASSAGES = 10
SHOWN = 700  # characters of a passage


class KnowledgeSearch:
    """Kind of tools: `knowledge:FOLDER`, an index that `luthier index` made, or its address."""

    card: ClassVar[ToolCard] = ToolCard(
        does="searches the passages of an index",
        may="read that index",
        needs="an index made by luthier index",
        example="knowledge:handbook",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The search over one index. UserError where there is none."""
        from luthier.retrieval import open_index

        if not address:
            raise UserError(
                "knowledge names no index", next_step="Write knowledge:FOLDER; see luthier index."
            )
        index = open_index(address)

        def search(arguments: Mapping[str, Any]) -> str:
            from luthier.retrieval import SearchSettings

            mode: Any = "lexical" if index.facts.dimension is None else "hybrid"
            settings = SearchSettings(k=int(arguments.get("count", 3)), mode=mode)
            hits = index.search([str(arguments["query"])], settings)[0]
            found = [f"[{h.rank}] {h.passage.place}: {h.passage.text[:SHOWN]}" for h in hits]
            return "\n".join(found) or "Nothing was found."

        parameters = {
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "description": "what to look for"},
                "count": {"type": "integer", "minimum": 1, "maximum": MOST_PASSAGES},
            },
            "required": ["query"],
            "additionalProperties": False,
        }
        tool = Tool(
            "search_documents", "Finds passages in the documents.", parameters, search,
            private=True, origin=f"knowledge:{address}",
        )  # fmt: skip
        return ToolSource((tool,))
