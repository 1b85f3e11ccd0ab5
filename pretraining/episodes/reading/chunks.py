"""A sentence's shallow parse: noun phrases, verbs, prepositions, and what parts clauses.

TextBlob's tagger and chunker, some of whose chunks are joined: a name goes on with the number after
it, an infinitive is one unit. The forms of verbs are LemmInflect's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pretraining.texts.lexicon import listed

BE = frozenset(listed("is are was were be been am"))
AUXILIARY = BE | frozenset(
    listed("has have had can could will would may might must should did do does")
)
PRONOUNS = frozenset(listed("he she it they i we you him her them this that these those there who"))
DETERMINERS = frozenset(listed("the a an his her its their this that these those some any our my"))
STOPS = frozenset(
    listed("which who whom whose that where when while but although because if as than")
)


@dataclass(frozen=True)
class Unit:
    """A chunk: noun phrase, finite verb, infinitive, preposition, or what parts clauses."""

    kind: str  # NP, VP, INF, PP, STOP, CC, MARK or ADV
    first: int  # characters of the sentence
    last: int
    words: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@lru_cache(maxsize=60_000)
def units(sentence: str) -> tuple[Unit, ...]:
    """The sentence's chunks, in order."""
    from textblob.en import parse

    at = 0
    words: list[tuple[str, str, str, int]] = []
    for part in parse(sentence).split():
        for text, tag, chunk, *_ in part:
            place = sentence.find(text, at)
            if place >= 0:
                words.append((text, tag, chunk, place))
                at = place + len(text)
    groups: list[tuple[str, list[int]]] = []
    for i, (text, tag, chunk, _) in enumerate(words):
        low, after = text.lower(), words[i + 1][1] if i + 1 < len(words) else ""
        last = groups[-1] if groups else ("", [])
        if low in STOPS and (tag.startswith("W") or low not in ("that", "as") or last[0] == "NP"):
            kind = "STOP"
        elif tag == "TO" and after == "VB":
            kind = "INF"
        elif tag in ("MD",) or tag.startswith("VB") or (low in AUXILIARY):
            kind = "NP" if chunk == "I-NP" else "INF" if last[0] == "INF" else "VP"
        elif tag == "RB" and last[0] == "VP":
            kind = "VP"
        elif tag in ("IN", "TO"):
            kind = "PP"
        elif tag == "CC":
            kind = "NP" if chunk == "I-NP" else "CC"
        elif "NP" in chunk or tag in ("CD", "PRP", "PRP$") or tag.startswith(("NN", "JJ", "DT")):
            kind = "NP"
        elif text[:1].isalnum():
            kind = "ADV"
        else:
            kind = "MARK"
        begins = (
            chunk == "B-NP"
            and kind == "NP"
            and not (tag.startswith("NNP") or tag == "CD" or text.isdigit())
        )  # a name or a number after a name goes on with it
        joins = kind == last[0] and kind in ("NP", "VP", "INF") and not begins
        if joins:
            last[1].append(i)
        else:
            groups.append((kind, [i]))
    return tuple(
        Unit(
            kind,
            words[ids[0]][3],
            words[ids[-1]][3] + len(words[ids[-1]][0]),
            tuple(words[i][0] for i in ids),
            tuple(words[i][1] for i in ids),
        )
        for kind, ids in groups
    )


def bare(u: Unit) -> Unit:
    """A noun phrase without its determiner."""
    n = 0
    while n + 1 < len(u.words) and u.words[n].lower() in DETERMINERS:
        n += 1
    shift = sum(len(w) for w in u.words[:n]) + n
    return Unit(u.kind, u.first + shift, u.last, u.words[n:], u.tags[n:])


@lru_cache(maxsize=20_000)
def form(verb: str, tag: str) -> str:
    """The verb in another form: VB, VBD."""
    from lemminflect import getInflection, getLemma

    base = (getLemma(verb.lower(), upos="VERB") or (verb,))[0]
    return base if tag == "VB" else (getInflection(base, tag=tag) or (verb,))[0]
