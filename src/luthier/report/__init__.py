"""How people read a comparison: a table in the terminal, and one HTML file that opens offline."""

from luthier.report.html import render_html, write_html
from luthier.report.terminal import terminal_table

__all__ = ["render_html", "terminal_table", "write_html"]
