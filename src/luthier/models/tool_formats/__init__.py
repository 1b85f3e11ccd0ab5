"""How models of different families write the calls of tools, and how these are read."""

from luthier.models.tool_formats.call_format import CallFormat, CallText, call_format, format_of
from luthier.models.tool_formats.call_grammar import tool_grammar
from luthier.models.tool_formats.listing import listing

__all__ = ["CallFormat", "CallText", "call_format", "format_of", "listing", "tool_grammar"]
