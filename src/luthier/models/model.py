"""Model = a frozen base plus an adaptation. Whatever answers is one of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.content import Conversation, Input, Message, Response
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Backend
from luthier.records import Capability, Example, Lineage

if TYPE_CHECKING:
    from luthier.tools import Tool, Toolbox


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A base (behind its backend), an adaptation, and how that adaptation was made.

    Immutable: `adapt` returns a new model over the same base.
    """

    backend: Backend
    adaptation: Adaptation = field(default_factory=Adaptation)
    lineage: Lineage | None = None

    def adapt(self, *, lineage: Lineage | None = None, **slots: Any) -> Model:
        """The same base with some slots of the adaptation replaced: `adapt(prompt=...)`."""
        return Model(self.backend, replace(self.adaptation, **slots), lineage or self.lineage)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the backend can do."""
        return self.backend.capabilities

    def respond(
        self,
        conversation: Input | Sequence[Message | Mapping[str, Any]],
        *,
        context: str | None = None,
        seed: int = 0,
        tools: Mapping[str, Tool | Callable[..., Any]] | Toolbox | None = None,
        max_steps: int | None = None,
    ) -> Response:
        """Answer a text, parts, or the last turn of a conversation.

        A single question is asked as `answer` asks it. Of several turns the adaptation's prompt
        becomes the system part, its demonstrations stand before the earlier turns, and a passage
        stands with the last question; a base with a chat template reads them through it, any other
        base in the form of the prompt (`models.turns`).

        A model with documents looks up the last question, cites what it found, and answers "not in
        the documents" where no passage bears its words out; `Response.prediction` is what it said.

        **Arguments**

        - `conversation`: a text, parts (text and pictures), a `Conversation`, or messages, also as
          mappings with `role` and `content`.
        - `context`: a passage to answer from.
        - `seed`: decides what is drawn where decoding samples.
        - `tools`: functions or `Tool`s by name, or a `Toolbox`, in place of the model's own. A tool
          the model calls is run with the call's arguments, and the model goes on with the result.
          Without tools, calls are returned and not run.
        - `max_steps`: the most generations, 8 by default. The calls of the last one are returned
          and not run.

        UserError where there is nothing to answer, CapabilityError for a picture where the backend
        reads text only.
        """
        turns = Conversation.of(conversation)
        example = Example(id="", input=turns, target="", context=context)

        def respond() -> Response:
            if tools is None:
                return self.answer([example], seed=seed)[0]
            from luthier.models.tool_loop import answer_with_tools
            from luthier.tools import Toolbox

            box = Toolbox.of(tools)
            if max_steps is not None:
                box = box.under(limits=replace(box.limits, steps=max_steps))
            return answer_with_tools(self, [example], box, seed=seed)[0]

        if self.adaptation.knowledge is None:
            return respond()
        from luthier.models.rag.grounding import grounded

        return grounded(self, turns, respond)

    def stream(
        self,
        conversation: Input | Sequence[Message | Mapping[str, Any]],
        *,
        context: str | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """The same response in pieces, as they are generated: their join is `respond(...).text`.

        It is the raw text: nothing is parsed out of it, and what no document bears out is not
        withheld. It is one piece where no part is known before the whole: scored labels, votes, and
        passages that are read apart.
        """
        from luthier.models.answering import stream

        turns = Conversation.of(conversation)
        example = Example(id="", input=turns, target="", context=context)
        return stream(self, example, seed=seed)

    def ask(self, text: str, *, context: str | None = None) -> str:
        """The answer to one question, as text: `respond(text).answer`."""
        return self.respond(text, context=context).answer

    def answer(self, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
        """Answer many inputs in one batch; targets are never looked at.

        Answers out of documents are neither cited nor withheld here: a scorer sees what was said.
        """
        from luthier.models.answering import answer

        return answer(self, examples, seed=seed)

    def save(self, folder: str | Path) -> Path:
        """Write the adaptation (never the base) as a folder that `luthier.load` opens."""
        from luthier.models.storage import save

        return save(self, Path(folder))
