"""Read the raw sources, leave out what must stay unseen, and write the pools of the episodes.

A *pool* is a JSON-lines file of short texts (``texts.jsonl``), question-passage-answer triples
(``qa.jsonl``) or running documents (``documents.jsonl``). Everything is in a seeded, fixed order.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import lzma
import random
import re
from collections.abc import Iterator
from pathlib import Path

HELD_OUT_CLINC_DOMAINS = ("banking", "credit_cards")  # banking77 must stay an unseen domain
EVALUATION_CLINC_DOMAIN = "work"  # its intents are never trained on: the "clinc held-out" row
SST_TEMPLATES = ("rotten_tomatoes",)  # the Stanford treebank is built from these reviews
BANKING = re.compile(
    r"\b(bank|banking|savings|checking account|account balance|transfer (money|funds)|"
    r"debit|credit card|atm|exchange rate)\b",
    re.IGNORECASE,
)
NGRAM = 13
REVIEWS = ("imdb", "amazon_polarity", "yelp_review_full", "app_reviews")


@dataclasses.dataclass(frozen=True)
class Text:
    """A short text with where it comes from and, for labelled sources, its label."""

    text: str
    source: str
    label: str | None = None
    domain: str | None = None


def words(text: str) -> list[str]:
    """Lower-cased words: the unit of the 13-gram overlap."""
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(text: str, n: int = NGRAM) -> set[int]:
    """Hashes of all runs of ``n`` words."""
    w = words(text)
    return {hash(tuple(w[i : i + n])) for i in range(len(w) - n + 1)}


def read_dialogues(data: Path) -> list[str]:
    """Dialogues, one string each, without those that touch on banking."""
    with lzma.open(data / "corpus/dialogues.txt.xz", "rt", encoding="utf-8") as lines:
        everything = lines.read().split("\n\n")
    return [d.strip() for d in everything if d.strip() and not BANKING.search(d)]


def read_novels(data: Path) -> list[str]:
    """Novels, one string each."""
    with lzma.open(data / "corpus/novels.txt.xz", "rt", encoding="utf-8-sig") as lines:
        return [n.strip() for n in lines.read().split("\n\n\n") if len(n) > 5000]


def read_t0(data: Path) -> list[dict[str, str]]:
    """Prompted tasks, without templates over the Stanford treebank's reviews."""
    with lzma.open(data / "corpus/t0_prompts.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [r for r in rows if not r["template"].startswith(SST_TEMPLATES)]


def evaluation_ngrams(data: Path) -> dict[str, set[int]]:
    """13-grams of every evaluation set, by set; texts shorter than 13 words count whole."""
    out: dict[str, set[int]] = {name: set() for name in ("xquad", "sst2", "sentfin", "banking77")}
    xquad = json.loads((data / "data/xquad-en/xquad.en.json").read_text(encoding="utf-8"))
    for article in xquad["data"]:
        for paragraph in article["paragraphs"]:
            out["xquad"] |= ngrams(paragraph["context"])
            for qa in paragraph["qas"]:
                out["xquad"] |= ngrams(qa["question"])
    for name, pattern in (
        ("sst2", "sst2/*.csv"),
        ("sentfin", "sentfin/*.csv"),
        ("banking77", "banking77/*.csv"),
    ):
        for path in sorted((data / "data").glob(pattern)):
            with path.open(encoding="utf-8", newline="") as lines:
                for row in csv.reader(lines):
                    for cell in row:
                        out[name] |= ngrams(cell)
    out["bfcl"] = set()
    for path in sorted((data / "data/bfcl").glob("*.json")):
        out["bfcl"] |= ngrams(path.read_text(encoding="utf-8"))
    return out


def sentences(text: str) -> Iterator[str]:
    """Rough sentences of 4 to 34 words."""
    for piece in re.split(r"(?<=[.!?])\s+|\n+", text):
        piece = piece.strip(" \"'“”-*")
        n = piece.count(" ") + 1
        if 4 <= n <= 34 and len(piece) <= 220:
            yield piece


def clinc_texts(data: Path, split: str) -> Iterator[Text]:
    """CLINC150 utterances with intent and domain, banking domains left out."""
    full = json.loads((data / "data/clinc150/data_full.json").read_text(encoding="utf-8"))
    domain_of = clinc_domains()
    for text, intent in full[split]:
        if (domain := domain_of.get(intent)) is not None:
            yield Text(text, "clinc", intent, domain)


def clinc_domains() -> dict[str, str]:
    """Intent → domain for the 120 CLINC intents outside banking and credit cards."""
    table = {
        "kitchen": "recipe restaurant_reviews calories nutrition_info restaurant_suggestion "
        "ingredients_list ingredient_substitution cook_time food_last meal_suggestion "
        "restaurant_reservation confirm_reservation how_busy cancel_reservation "
        "accept_reservations",
        "home": "shopping_list shopping_list_update next_song play_music update_playlist todo_list "
        "todo_list_update calendar calendar_update what_song order order_status reminder "
        "reminder_update smart_home",
        "auto": "traffic directions gas gas_type distance current_location mpg oil_change_when "
        "oil_change_how jump_start uber schedule_maintenance last_maintenance "
        "tire_pressure "
        "tire_change",
        "travel": "book_flight book_hotel car_rental travel_suggestion travel_alert "
        "travel_notification "
        "carry_on timezone vaccines translate flight_status international_visa lost_luggage "
        "plug_type exchange_rate",
        "utility": "time alarm share_location find_phone weather text spelling make_call timer "
        "date calculator measurement_conversion flip_coin roll_dice definition",
        "work": "direct_deposit pto_request taxes payday w2 pto_balance pto_request_status "
        "next_holiday insurance insurance_change schedule_meeting pto_used meeting_schedule "
        "rollover_401k income",
        "talk": "greeting goodbye tell_joke where_are_you_from how_old_are_you what_is_your_name "
        "who_made_you thank_you what_can_i_ask_you what_are_your_hobbies do_you_have_pets "
        "are_you_a_bot meaning_of_life who_do_you_work_for fun_fact",
        "meta": "change_ai_name change_user_name cancel user_name reset_settings whisper_mode "
        "repeat no yes maybe change_language change_accent change_volume change_speed sync_device",
    }
    out = {intent: domain for domain, names in table.items() for intent in names.split()}
    out.pop("exchange_rate")  # about money, hence too near banking77
    return out


def snips_texts(data: Path) -> Iterator[Text]:
    """Snips utterances: seven intents."""
    root = data / "data/snips/2017-06-custom-intent-engines"
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        intent = folder.name
        path = folder / f"train_{intent}_full.json"
        rows = json.loads(path.read_bytes().decode("utf-8", "replace"))[intent]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", intent).lower()
        for row in rows:
            yield Text("".join(piece["text"] for piece in row["data"]).strip(), "snips", name)


def slot_rows(data: Path) -> Iterator[dict[str, object]]:
    """Snips requests in parts: text and, where people marked it, the slot it fills."""
    root = data / "data/snips/2017-06-custom-intent-engines"
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        path = folder / f"train_{folder.name}_full.json"
        intent = re.sub(r"(?<!^)(?=[A-Z])", "_", folder.name).lower()
        for row in json.loads(path.read_bytes().decode("utf-8", "replace"))[folder.name]:
            parts = [(p["text"], p.get("entity")) for p in row["data"]]
            if any(slot for _, slot in parts):
                yield {"intent": intent, "parts": parts}


def short_texts(data: Path, t0: list[dict[str, str]], seed: int) -> list[Text]:
    """The short texts: labelled utterances, dialogue turns, sentences."""
    draw = random.Random(seed)
    out = [t for t in clinc_texts(data, "train") if t.domain != EVALUATION_CLINC_DOMAIN]
    snips = list(snips_texts(data))
    out += draw.sample(snips, min(3500, len(snips)))

    turns: dict[str, set[str]] = {"user": set(), "assistant": set()}
    for dialogue in read_dialogues(data):
        for line in dialogue.split("\n"):
            role, _, said = line.partition(": ")
            if 4 <= said.count(" ") + 1 <= 30 and len(said) <= 200:
                turns["user" if role == "User" else "assistant"].add(said.strip())
    out += [Text(t, "user") for t in draw.sample(sorted(turns["user"]), 40000)]
    out += [Text(t, "assistant") for t in draw.sample(sorted(turns["assistant"]), 6000)]

    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for row in t0:
        family = row["template"].split("_")[0]
        for sentence in set(sentences(row["prompt"])):
            seen[(sentence, family)] += 1
    common = collections.Counter(s for s, _ in seen)
    by_family: dict[str, list[str]] = collections.defaultdict(list)
    for (sentence, family), n in seen.items():
        if n <= 30 and common[sentence] == 1 and "{" not in sentence:
            by_family[family].append(sentence)
    for family in sorted(by_family):
        found = sorted(by_family[family])
        limit = 6000 if family in ("imdb", "amazon", "yelp", "app") else 3500
        out += [Text(t, family) for t in draw.sample(found, min(limit, len(found)))]

    novel = [s for n in read_novels(data) for s in sentences(n[20000:120000])]
    out += [Text(t, "novel") for t in draw.sample(novel, 15000)]
    return [t for t in out if t.source in ("clinc", "snips") or not BANKING.search(t.text)]


def documents(data: Path, seed: int) -> Iterator[dict[str, str]]:
    """Running text: novels in chunks of about 2,500 characters, dialogues whole."""
    draw = random.Random(seed)
    rows = [{"kind": "dialogue", "text": d[:3000]} for d in read_dialogues(data)]
    for novel in read_novels(data):
        for i in range(0, len(novel), 2500):
            rows.append({"kind": "novel", "text": novel[i : i + 2500]})
    draw.shuffle(rows)
    yield from rows


def build(data: Path, out: Path, seed: int = 0) -> dict[str, object]:
    """Write the pools and ``decontamination.json``; returns the report."""
    out.mkdir(parents=True, exist_ok=True)
    evaluation = evaluation_ngrams(data)
    dropped: collections.Counter[str] = collections.Counter()
    t0: list[dict[str, str]] = []
    for row in read_t0(data):
        grams = ngrams(row["prompt"] + " " + row["completion"])
        hit = [name for name, known in evaluation.items() if grams & known]
        for name in hit:
            dropped[name] += 1
        if not hit:
            t0.append(row)
    report: dict[str, object] = {"t0_rows_kept": len(t0), "t0_rows_dropped": dict(dropped)}
    everything = set().union(*evaluation.values())

    texts = short_texts(data, t0, seed)
    clean = [t for t in texts if not (ngrams(t.text) & everything)]
    report["short_texts_kept"] = len(clean)
    report["short_texts_dropped"] = len(texts) - len(clean)
    _write(out / "texts.jsonl", (dataclasses.asdict(t) for t in clean))
    _write(out / "t0.jsonl", t0)
    _write(out / "slots.jsonl", slot_rows(data))
    docs = list(documents(data, seed))
    kept = [d for d in docs if not (ngrams(d["text"]) & everything)]
    report["documents_kept"], report["documents_dropped"] = len(kept), len(docs) - len(kept)
    held = 200  # the first documents of the shuffled order are for measuring loss only
    _write(out / "documents_held_out.jsonl", kept[:held])
    _write(out / "documents.jsonl", kept[held:])
    (out / "decontamination.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _write(path: Path, rows: object) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row in rows:  # type: ignore[attr-defined]
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def read(path: Path) -> list[dict[str, str]]:
    """All rows of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
