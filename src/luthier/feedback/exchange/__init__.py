"""Opinions from files and into files: one table of formats, both ways."""

from luthier.feedback.exchange.transfer import (
    FORMATS,
    ImportReport,
    export_opinions,
    import_opinions,
)

__all__ = ["FORMATS", "ImportReport", "export_opinions", "import_opinions"]
