"""How a model answers out of documents: search, put the passages into the prompt, cite.

Passages are data. Nothing in them is parsed: each becomes one line of text, in which no special
token and no line of a prompt can be forged, and their words reach nothing but the model.
"""

from luthier.models.rag.lookup import search_knowledge
from luthier.models.rag.passages import with_citation_request, with_passages

__all__ = ["search_knowledge", "with_citation_request", "with_passages"]
