"""What the techniques share that look things up in documents."""

from __future__ import annotations

from typing import ClassVar

from luthier.task.task import Task
from luthier.techniques.base import Technique
from luthier.techniques.rag.task_index import index_content, missing_documents


class OverDocuments(Technique):
    """Stands on an index. A subclass is a frozen dataclass with the setting `index`: the place of
    one, or None for the documents of the task."""

    family: ClassVar[str] = "retrieval"

    index: str | None

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, what the task lacks for this technique; None where it has documents."""
        return missing_documents(task, self.index)

    def content(self) -> str | None:
        """The fingerprint of the index that is named: with another content it is another run."""
        return index_content(self.index)
