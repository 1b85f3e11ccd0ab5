"""Questions as people ask them, made from a sentence's shallow parse.

A cloze is the sentence with a hole; a question is another sentence: the verb before its subject and
in its base form, "which river" or "how many people" for what is missing, less said than the passage
says (rules in the manner of Heilman and Smith 2010)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from pretraining.episodes.reading.chunks import AUXILIARY, BE, PRONOUNS, Unit, bare, form, units
from pretraining.texts.lexicon import listed

TITLES = frozenset(listed(
    "President King Queen Prince Princess Emperor Pope Sir Lord Lady Dr Dr. Mr Mr. Mrs Mrs. Ms. "
    "Professor General Captain Senator Governor Saint Bishop Minister Colonel Admiral Judge"
))  # fmt: skip
HUMAN = frozenset(listed(
    "said says told asked wrote born married died became met thinks thought believed argued "
    "replied claimed decided announced joined graduated moved played starred led defeated"
))  # fmt: skip
MONTHS = "January February March April May June July August September October November December"
MONTH = "(?:" + "|".join(listed(MONTHS)) + ")"
DATE = re.compile(
    rf"(?:\d{{1,2}} )?{MONTH}(?: \d{{1,2}})?(?:,? \d{{4}})?\b|\b(?:1\d|20)\d\d\b(?!,\d)|"
    r"\b(?:1\d|20)\d0s\b|\b\d\d?(?:st|nd|rd|th) century\b"
)
QUANTITY = re.compile(
    r"[$€£]?\b\d[\d,]*(?:\.\d+)?(?: (?:million|billion|thousand|percent))?%?|"
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|hundreds|dozens)\b"
)
WHEN = frozenset(listed("in on since by during until from around before after of between about"))


@dataclass(frozen=True)
class Question:
    """A question and the characters of the sentence that answer it."""

    text: str
    first: int
    last: int


class Asker:
    """Asks about sentences; knows from a corpus which names are people's and which are places'."""

    def __init__(self, sentences: list[str]) -> None:
        seen: dict[str, list[int]] = {}
        for s in sentences:
            for m in re.finditer(r"(\w+\.?) ((?:[A-Z][\w'-]+ ?)+)(\w*)", s):
                before, name, after = m.group(1), m.group(2).split(), m.group(3)
                person = before in TITLES or name[0] in TITLES or after.lower() in HUMAN | {"who"}
                for w in name:
                    row = seen.setdefault(w, [0, 0, 0])
                    row[0] += 1
                    row[1] += person
                    row[2] += before in ("in", "at", "near")
        self.people = {w for w, (n, p, _) in seen.items() if p / n > 0.12} - TITLES
        self.places = {w for w, (n, _, q) in seen.items() if q / n > 0.3 and w not in self.people}

    def kind(self, u: Unit, sentence: str) -> str:
        """What sort of thing a noun phrase names."""
        text = sentence[u.first : u.last]
        if DATE.fullmatch(text):
            return "date"
        if QUANTITY.fullmatch(u.words[0]) and (len(u.words) == 1 or u.tags[-1].startswith("NN")):
            return "number"
        if u.words[-1][:1].isupper() and u.tags[-1].startswith("NN"):
            last = {u.words[0], u.words[-1]}
            if last & self.people or last & TITLES:
                return "person"
            return "place" if u.words[-1] in self.places else "name"
        return "thing"

    def wh(self, draw: random.Random, u: Unit, kind: str, before: str) -> tuple[str, bool]:
        """What asks for the phrase, and whether the preposition before it goes with it."""
        if kind == "date":
            year = re.fullmatch(r"\d{4}", u.text)
            when = ["when", "when", "in what year", "what year", "in which year"] if year else [
                "when", "when", "on what date", "what date", "in what year"]  # fmt: skip
            return draw.choice(when), before in WHEN
        if kind == "person":
            return draw.choice(["who", "who", "who", "which person", "what person"]), False
        if kind == "place" and before in ("in", "at", "near", "to", "from") and draw.random() < 0.6:
            return "where", before != "from"
        head = u.words[-1] if u.words[-1].isalpha() else ""
        if kind in ("name", "place"):
            if "of" in u.words:
                head = u.words[u.words.index("of") - 1]
            ways = ["what", "what", "what", "which"]
            if head and len(u.words) > 1:
                ways += [f"what {head.lower()}", f"which {head.lower()}", f"what {head.lower()}"]
            return draw.choice([*ways, "who" if before != "in" else "where"]), False
        return draw.choice(["what", "what", "what", "what", "what", "which"]), False

    def ask(self, draw: random.Random, sentence: str) -> Question | None:
        """A question for one of the sentence's parts, or None where the rules find none."""
        parts = units(sentence)
        ways = [w for i in range(len(parts)) for w in self._ways(parts, i)]
        # People ask for names and numbers more often than for things, by their count in a text.
        ways += [w for w in ways if any(c.isdigit() or c.isupper() for c in parts[w[1]].text)]
        draw.shuffle(ways)
        if not sentence[:1].isalnum():
            sentence_starts = next((k for k, p in enumerate(parts) if p.kind != "MARK"), 0)
            ways = [w for w in ways if w[1] >= sentence_starts]
        for way, i, v in ways[:6]:
            made = self._made(draw, sentence, parts, way, i, v)
            if made is not None and made.last - made.first <= 60:
                answer = sentence[made.first : made.last].lower()
                if answer and not re.search(rf"\b{re.escape(answer)}\b", made.text.lower()):
                    return made
        return None

    def _ways(self, parts: tuple[Unit, ...], i: int) -> list[tuple[str, int, int]]:
        """(how, noun phrase, its verb): as subject, after the verb, beside another phrase."""
        u = parts[i]
        few = u.words[0].lower() in PRONOUNS and len(u.words) == 1
        if u.kind != "NP" or few or u.words[-1] in ("s", "t", "'s", "'") or u.last - u.first < 2:
            return []
        out = []
        j = i + 1
        while j + 1 < len(parts) and parts[j].kind == "PP" and parts[j + 1].kind == "NP":
            j += 2
        finite = j + 1 < len(parts) and parts[j].tags[0] not in ("VBG", "VBN", "VB")
        if finite and parts[j].kind == "VP":
            out.append(("subject", i, j))
        for v in range(i - 1, 0, -1):
            if parts[v].kind in ("STOP", "MARK"):
                break
            if parts[v].kind == "VP" and parts[v].tags[0] not in ("VBG", "VBN"):
                if self._subject(parts, v) is not None:
                    out += [("object", i, v)] * 2
                break
        if i >= 2 and parts[i - 2].kind == "NP" and u.words[0] not in ("'s", "s"):
            closes = i + 1 < len(parts) and parts[i + 1].text in (",", ")", ".", ";")
            apposed = parts[i - 1].text == "," and u.words[0].lower() in ("a", "an", "the")
            if closes and (parts[i - 1].text == "(" or apposed):
                out.append(("beside", i - 2, i))
        return out

    def _subject(self, parts: tuple[Unit, ...], v: int) -> int | None:
        """Where the verb's subject begins."""
        s = v - 1
        if s >= 0 and parts[s].kind == "ADV":
            s -= 1
        if s < 0 or parts[s].kind != "NP":
            return None
        while s >= 2 and parts[s - 1].kind == "PP" and parts[s - 2].kind == "NP":
            s -= 2
        return s

    def _made(
        self, draw: random.Random, sentence: str, parts: tuple[Unit, ...], way: str, i: int, v: int
    ) -> Question | None:
        u = bare(parts[i])
        before = parts[i - 1].text.lower() if i and parts[i - 1].kind == "PP" else ""
        if way == "beside":
            other = parts[v]
            if other.text.isupper() and len(other.words) == 1:
                text = draw.choice([f"what does {other.text} stand for", f"what is {other.text}"])
            elif other.words[0].lower() in ("a", "an", "the"):
                who = (
                    "who" if self.kind(u, sentence) == "person" else draw.choice(["what", "which"])
                )
                text = f"{who} {draw.choice(['is', 'was'])} {said(other, v)}"
            else:
                text = f"what is {draw.choice(['another name', 'another word'])} for {other.text}"
            return Question(_closed(draw, text), u.first, u.last)
        kind, last = self.kind(u, sentence), u.last
        head = u.words[-1]
        if kind == "number" and len(u.words) > 1:
            noun = " ".join(u.words[1:])
            wh, take = (
                draw.choice([f"how many {noun}", f"how many {noun}", f"how much {noun}"]),
                False,
            )
            if draw.random() < 0.6:
                last = u.first + len(u.words[0])
        elif kind == "number":
            wh, take = (
                draw.choice(["how many", "how much", "what number", "what percentage"]),
                False,
            )
        elif kind == "thing" and len(u.words) > 1 and draw.random() < 0.45:
            which = draw.choice(["what kind of", "what type of", "what", "which", "what sort of"])
            wh, take, last = f"{which} {head}", False, u.last - len(head) - 1
            if draw.random() < 0.3:
                last = u.last
        else:
            wh, take = self.wh(draw, u, kind, before)
            if u.words[0].islower() and kind in ("name", "person") and u.tags[0].startswith("NN"):
                # "the author Mary Shelley": which author?
                k = next((k for k, w in enumerate(u.words) if w[:1].isupper()), 0)
                wh = f"{draw.choice(['which', 'what'])} {' '.join(u.words[:k])}"
                u = Unit(u.kind, last - len(" ".join(u.words[k:])), last, u.words[k:], u.tags[k:])
        after = i + 1
        if kind in ("thing", "name") and last == u.last and after + 1 < len(parts):
            of = parts[after].text.lower() == "of" and parts[after + 1].kind == "NP"
            if of and draw.random() < 0.6:
                last, after = parts[after + 1].last, after + 2
        if last <= u.first:
            return None
        if way == "subject":
            tail = rest(draw, parts, v + 1, ())
            if not tail:
                return None
            return Question(_closed(draw, f"{wh} {parts[v].text} {tail}"), u.first, last)
        s = self._subject(parts, v)
        if s is None:
            return None
        subject = " ".join(said(p, k) for k, p in enumerate(parts[s:v], s) if p.kind != "ADV")
        skip = set(range(i, after)) | ({i - 1} if before else set())
        tail = rest(draw, parts, v + 1, skip)
        verb = parts[v]
        if before and not take:
            if draw.random() < 0.5:
                wh = f"{before} {'whom' if wh == 'who' else wh}"
            else:
                tail = f"{tail} {before}".strip()
        lead = verb.words[0].lower()
        passive = before == "by" and verb.tags[-1] == "VBN" and lead in BE
        if passive and draw.random() < 0.7:  # made by whom? who made it?
            who = wh.removeprefix("by ").replace("whom", "who")
            text = f"{who} {form(verb.words[-1], 'VBD')} {subject}"
            return Question(_closed(draw, text), u.first, last)
        if lead in AUXILIARY and (len(verb.words) > 1 or lead in BE):
            text = f"{wh} {lead} {subject} {' '.join(verb.words[1:])} {tail}"
        else:
            do = "did" if verb.tags[-1] == "VBD" else "does" if verb.tags[-1] == "VBZ" else "do"
            adverbs = " ".join(verb.words[:-1])
            text = f"{wh} {do} {subject} {adverbs} {form(verb.words[-1], 'VB')} {tail}"
        return Question(_closed(draw, text), u.first, last)


def said(u: Unit, place: int) -> str:
    """The unit's words; a sentence's first word without its capital."""
    if place == 0 and not u.tags[0].startswith("NNP"):
        return " ".join([u.words[0].lower(), *u.words[1:]])
    return u.text


def rest(
    draw: random.Random, parts: tuple[Unit, ...], first: int, skip: set[int] | tuple[int, ...]
) -> str:
    """What follows the verb, up to the clause's end, without some of its later phrases."""
    groups: list[list[str]] = []
    for k in range(first, len(parts)):
        p = parts[k]
        if p.kind in ("STOP", "MARK") or (p.kind in ("VP", "CC") and k > first):
            break
        if k in skip:
            continue
        if p.kind == "NP" and groups and groups[-1] and groups[-1][-1] and k - 1 not in skip:
            groups[-1].append(p.text)
        else:
            groups.append([p.text])
    keep = [" ".join(g) for n, g in enumerate(groups) if n == 0 or draw.random() < 0.65]
    return " ".join(keep[:5])


def _closed(draw: random.Random, text: str) -> str:
    text = " ".join(text.split())
    text = re.sub(r" ([,.;:)%]|'s\b|n't\b)", r"\1", text)
    if draw.random() < 0.08:
        text = text.lower()
    else:
        text = text[:1].upper() + text[1:]
    return text + draw.choice(["?", "?", "?", "?", ""])
