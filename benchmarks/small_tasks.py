"""Small tasks out of public data and the bundled ones, for benchmarks that need many of them.

Each has 300 to 500 examples in all, or fewer where few examples are the point. CLINC150's domains
`work`, `banking` and `credit_cards` were kept out of the training of nano and nano-reader.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.records import Example
from luthier.task.task import Task

TRAIN, DEV, TEST = 200, 80, 150
CLINC = {
    "work": "direct_deposit pto_request taxes payday w2 pto_balance pto_request_status "
    "next_holiday insurance insurance_change schedule_meeting pto_used meeting_schedule "
    "rollover_401k income",
    "banking": "transfer transactions balance freeze_account pay_bill bill_balance bill_due "
    "interest_rate routing min_payment order_checks pin_change report_fraud account_blocked "
    "spending_history",
    "credit_cards": "credit_score report_lost_card credit_limit rewards_balance new_card "
    "application_status card_declined international_fees apr redeem_rewards credit_limit_change "
    "damaged_card replacement_card_duration improve_credit_score expiration_date",
}
BANKING6 = ("card_arrival", "lost_or_stolen_card", "exchange_rate", "top_up_failed", "pin_blocked",
            "declined_transfer")  # fmt: skip
MESSAGES = "Choose the intent of this message to a bank."
REQUESTS = "Choose the intent of this request to an assistant."


@dataclass(frozen=True, slots=True)
class SmallTask:
    """A task and the base it is meant for."""

    name: str
    base: str
    make: Callable[[], Task]


def data(*parts: str) -> Path:
    """A path below $LUTHIER_DATA."""
    return Path(os.environ["LUTHIER_DATA"], *parts)


def cut(task: Task, *, train: int = TRAIN, dev: int = DEV, test: int = TEST) -> Task:
    """The task with so many examples of each split, drawn with a seed."""
    return replace(
        task, train=_some(task.train, train), dev=_some(task.dev, dev), _test=_some(task.test, test)
    )


def loaded(name: str, *, accuracy: bool = False, **sizes: int) -> Task:
    """A bundled task or an example file, cut."""
    task = Task.load(name, allow_code=True)
    if accuracy:
        task = replace(task, spec=replace(task.spec, scorer="accuracy"))
    return cut(task, **sizes)


def banking77(labels: Collection[str], **sizes: int) -> Task:
    """Intents of bank customers."""
    train, test = ([(r["text"], r["category"]) for r in _rows("banking77", f"{split}.csv")]
                   for split in ("train", "test"))  # fmt: skip
    return _of_rows("banking77", MESSAGES, labels, train, test, **sizes)


def banking15(**sizes: int) -> Task:
    """The first fifteen of its 77 intents."""
    labels = sorted({row["category"] for row in _rows("banking77", "train.csv")})
    return banking77(labels[:15], **sizes)


def clinc150(domain: str, **sizes: int) -> Task:
    """The intents of one domain of requests to an assistant."""
    found = json.loads(data("clinc150", "data_full.json").read_text("utf-8"))
    train = [(text, label) for text, label in (*found["train"], *found["val"])]
    test = [(text, label) for text, label in found["test"]]
    return _of_rows(f"clinc-{domain}", REQUESTS, CLINC[domain].split(), train, test, **sizes)


def _rows(*parts: str) -> list[dict[str, str]]:
    with data(*parts).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _of_rows(
    name: str, instruction: str, labels: Collection[str],
    train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]],
    *, train_count: int = TRAIN, dev_count: int = DEV, test_count: int = TEST,
) -> Task:  # fmt: skip
    def examples(rows: Iterable[tuple[str, str]], split: str) -> tuple[Example, ...]:
        kept = [(text, label) for text, label in rows if label in labels]
        return tuple(Example(f"{split}{i}", text, label) for i, (text, label) in enumerate(kept))

    known = list(examples(train, "train"))
    random.Random(0).shuffle(known)
    splits = {
        "train": known[:train_count],
        "dev": known[train_count : train_count + dev_count],
        "test": _some(examples(test, "test"), test_count),
    }
    return Task.from_examples(
        splits, name=name, instruction=instruction, kind="classify", labels=sorted(labels)
    )


def _some(examples: tuple[Example, ...], count: int) -> tuple[Example, ...]:
    return tuple(random.Random(0).sample(examples, min(count, len(examples))))
