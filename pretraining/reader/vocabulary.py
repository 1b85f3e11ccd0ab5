"""The reader's vocabulary: MiniLM's word pieces, trimmed, in three cases.

MiniLM knows 30,522 lower-case pieces. Here its commonest are kept, and a capitalised or upper-case
word is a token of its own that begins with the row of its lower-case form, so that the encoder
reads what it always read while an answer can keep its capitals. Text is cut as MiniLM cuts it
(words, numbers and single marks), but no space is lost: ``▁`` stands where a word follows a space.
After an opening mark a word needs no space, and there ``▁`` is added and taken out again, so that
``card_arrival`` is read as the words card and arrival. What is not in the vocabulary falls back to
bytes. The rest is done by a unigram model whose scores differ little, which finds the fewest pieces
(Kudo 2018, arXiv:1804.10959).
"""

from __future__ import annotations

import collections
import re
import string
import unicodedata
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pretraining import teacher
from pretraining.texts import tokenizer

START, PAD, END, UNKNOWN = "<s>", "<pad>", "</s>", "<unk>"
SPACE = "▁"
ROLES = ("system", "user", "assistant", "tool")
TURNS = [tokenizer.END, *(f"<|{role}|>" for role in ROLES)]
SPECIAL = [START, PAD, END, UNKNOWN, *TURNS]
SIZE = 19_456
OPENING = r"[\"'`(\[{_/$#@\-\n]"  # after these a word mostly stands without a space
WORD = "A-Za-z0-9\u00c0-\u024f"
CUT = rf"{SPACE}?[A-Za-z\u00c0-\u024f]+|{SPACE}?[0-9]+|\n|{SPACE}?[^\s{SPACE}{WORD}]|{SPACE}|\s"
SHARES = {"lower": 0.6, "inner": 0.13, "title": 0.24, "upper": 0.03}  # of what is not fixed
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def train(out: Path, encoder: Path | None = None, seed: int = 0) -> PreTrainedTokenizerFast:
    """Choose the pieces by counting, save the tokenizer to ``out/vocabulary`` and return it."""
    known = AutoTokenizer.from_pretrained(teacher.folder(encoder)).get_vocab()
    pieces = choose(_counts(tokenizer.sample(out, seed)), known)
    made = build(pieces)
    made.save_pretrained(out / "vocabulary")
    return made


def load(out: Path) -> PreTrainedTokenizerFast:
    """The tokenizer written by :func:`train`."""
    return PreTrainedTokenizerFast.from_pretrained(out / "vocabulary")


def _counts(texts: list[str]) -> collections.Counter[str]:
    """How often each word stands in the texts, in its case."""
    found: collections.Counter[str] = collections.Counter()
    for text in texts:
        found.update(re.findall(r"[A-Za-z\u00c0-\u024f]+|[0-9]+", text))
    return found


def fixed() -> list[str]:
    """Pieces that are always there: bytes, marks, letters, short numbers, accented letters."""
    marks = list(string.punctuation) + list("–—‘’“”…£€°·×²")
    alone = string.ascii_letters + string.digits
    out = [f"<0x{i:02X}>" for i in range(256)] + [SPACE, "\n", "\t"]
    out += [*marks, *(SPACE + m for m in marks), *alone, *(SPACE + c for c in alone)]
    out += [f"{i:02d}" for i in range(100)] + [f"{SPACE}{i}" for i in range(10, 101)]
    out += [f"{SPACE}{i}" for i in range(1800, 2031)]
    out += [chr(c) for c in range(0xC0, 0x180) if chr(c).isalpha()]
    return out


def choose(counts: collections.Counter[str], known: dict[str, int], size: int = SIZE) -> list[str]:
    """The pieces, commonest first: a rank in MiniLM's list counts beside the texts' own counts."""
    base = fixed()
    room = size - len(SPECIAL) - len(base)
    folded: collections.Counter[str] = collections.Counter()
    for word, n in counts.items():
        folded[word.lower()] += n
    plain = [w for w in known if re.fullmatch(r"[a-z]+|[0-9]+", w)]
    common = sorted(plain, key=lambda w: -(folded[w] + 2e5 / known[w]))
    title = sorted(plain, key=lambda w: -counts[w.capitalize()] if len(w) > 1 else 0)
    upper = sorted(plain, key=lambda w: -counts[w.upper()] if len(w) > 1 and w.isalpha() else 0)
    taken = set(base)

    def take(names: list[str], share: float) -> list[str]:
        fresh = [n for n in dict.fromkeys(names) if n not in taken][: round(share * room)]
        taken.update(fresh)
        return fresh

    lower = take([SPACE + w for w in common], SHARES["lower"])
    kept = {w.removeprefix(SPACE) for w in lower}
    inner = _inner(counts, kept, known)
    lower += take(inner, SHARES["inner"])
    lower += take([SPACE + w.upper() for w in upper], SHARES["upper"])
    lower += take([SPACE + w.capitalize() for w in title], SHARES["title"])
    rest = [SPACE + w for w in common]
    lower += take(rest, (room - len(lower)) / room)
    return [*SPECIAL, *base, *lower]


def _inner(counts: collections.Counter[str], kept: set[str], known: dict[str, int]) -> list[str]:
    """Pieces within words, by how often MiniLM's way of cutting would use them."""
    found: collections.Counter[str] = collections.Counter()
    for word, n in counts.items():
        text = word.lower()
        if text in kept:
            continue
        at = 0
        while at < len(text):
            end = next(
                (e for e in range(len(text), at, -1)
                 if (("##" if at else "") + text[at:e]) in known), at + 1
            )  # fmt: skip
            if at:
                found[text[at:end]] += n
            at = end
    return [p for p, _ in found.most_common() if re.fullmatch(r"[a-z]+|[0-9]+", p)]


def build(pieces: list[str]) -> PreTrainedTokenizerFast:
    """The tokenizer over these pieces; a piece's number is its place."""
    scores = [(p, -10.0 - 2.0 * i / len(pieces)) for i, p in enumerate(pieces)]
    raw = Tokenizer(models.Unigram(scores, unk_id=pieces.index(UNKNOWN), byte_fallback=True))
    raw.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(rf"(?<={OPENING}) (?=[{WORD}])"), "  "),
            normalizers.Replace(Regex(rf"(?<={OPENING})(?=[{WORD}])"), " "),
        ]
    )
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=False),
            pre_tokenizers.Split(Regex(CUT), behavior="isolated"),
        ]
    )
    raw.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(Regex(rf"(?<={OPENING}){SPACE}(?=[{WORD}])"), ""),
            decoders.Replace(Regex(rf"(?<={OPENING}){SPACE}{SPACE}(?=[{WORD}])"), SPACE),
            decoders.Replace(SPACE, " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    raw.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} $B {END}",
        special_tokens=[(t, pieces.index(t)) for t in (START, END)],
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=1024,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=TURNS,
    )
    made.chat_template = TEMPLATE
    return made


def telling(made: PreTrainedTokenizerFast) -> Tensor:
    """Which pieces are words, numbers or parts of them, (V,): not marks, which share their rows."""
    pieces = made.convert_ids_to_tokens(range(len(made)))
    return torch.tensor([any(c.isalnum() for c in p) and not p.startswith("<") for p in pieces])


def source_pieces(piece: str, known: dict[str, int]) -> int | None:
    """The row of MiniLM's table that a piece begins with, None where there is none."""
    special = {
        START: "[CLS]", END: "[SEP]", PAD: "[PAD]", UNKNOWN: "[UNK]", "\n": ".", "\t": ",",
        SPACE: ",", tokenizer.END: ".", **{f"<|{r}|>": r for r in ROLES},
    }  # fmt: skip
    if piece in special:
        return known[special[piece]]
    bare = piece.removeprefix(SPACE)
    plain = unicodedata.normalize("NFD", bare.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    inside = piece == bare and bare.isalnum()
    for name in (f"##{plain}" if inside else plain, plain):
        if name in known:
            return known[name]
    return None
