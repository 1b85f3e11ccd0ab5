"""How familiar documents are to a base: what was found."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.records import Score

SHUFFLED_WORDS, SHUFFLED_SENTENCES = "its words shuffled", "its sentences shuffled"


@dataclass(frozen=True, slots=True)
class MatchedText:
    """The documents against one kind of matched text.

    `areas` are the areas under the ROC curve by measure: the share of pairs in which the documents'
    window is the more familiar one. `paired` is the share of windows that are likelier than their
    own shuffled form. `verdict` is "more", "less" or "cannot tell", by the interval of
    `decided_by`. `blind` is how well the words alone tell the two sets apart, without any model.
    """

    name: str
    windows: int
    documents: int
    areas: tuple[Score, ...] = ()
    decided_by: str = ""
    verdict: str = "cannot tell"
    paired: Score | None = None
    blind: Score | None = None
    roc: tuple[tuple[float, float], ...] = ()
    lacks: str = ""

    @property
    def decisive(self) -> Score | None:
        """The figure that the verdict is read from."""
        if self.decided_by == "paired":
            return self.paired
        return next((score for score in self.areas if score.metric == self.decided_by), None)


@dataclass(frozen=True, slots=True)
class SectionFamiliarity:
    """One section: `bits_a_byte` is what the base needs for a byte of it; `order` the share of its
    windows that are likelier than their shuffled words."""

    heading: str
    windows: int
    bits_a_byte: float
    order: float | None = None


@dataclass(frozen=True, slots=True)
class DocumentFamiliarity:
    """One document, and the same of each of its sections. `zlib_bits_a_byte` is what a general
    compressor needs; `tokens_a_word` grows where the base's vocabulary does not know the words."""

    name: str
    windows: int
    tokens: int
    bits_a_byte: float
    zlib_bits_a_byte: float
    tokens_a_word: float
    order: float | None = None
    sections: tuple[SectionFamiliarity, ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether the base can make nothing of it: its order is no likelier than chance, or a
        general compressor that knows no language does better."""
        return (self.order is not None and self.order <= 0.6) or (
            self.bits_a_byte > self.zlib_bits_a_byte
        )


@dataclass(frozen=True, slots=True)
class Surprise:
    """A window that the base did not expect."""

    document: str
    heading: str
    text: str
    bits_a_byte: float


@dataclass(frozen=True, slots=True)
class Familiarity:
    """What was measured on `windows` of `windows_of` windows in `len(documents)` of `documents_of`
    documents; `too_short` of these had none. `lacks`: why it is empty."""

    lacks: str = ""
    against: tuple[MatchedText, ...] = ()
    documents: tuple[DocumentFamiliarity, ...] = ()
    surprises: tuple[Surprise, ...] = ()
    bits_a_byte: float | None = None
    zlib_bits_a_byte: float | None = None
    windows: int = 0
    windows_of: int = 0
    documents_of: int = 0
    too_short: int = 0
    tokens: int = 0

    def of(self, name: str) -> MatchedText | None:
        """What was found against one kind of matched text, by its name."""
        return next((one for one in self.against if one.name == name), None)

    def sentences(self) -> list[str]:
        """What was found, in words."""
        from luthier.probe.familiarity_words import familiarity_sentences

        return familiarity_sentences(self)
