"""Build, train, export and measure ``nano-reader``: ``python -m pretraining.reader all``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _pools(a: argparse.Namespace) -> None:
    from pretraining import teacher
    from pretraining.texts import corpus

    if not (a.out / "decontamination.json").exists():
        print(json.dumps(corpus.build(a.data, a.out, a.seed)))
    if not (a.out / "neighbours.npy").exists():
        teacher.build(a.out, a.encoder, a.seed)


def _vocabulary(a: argparse.Namespace) -> None:
    from transformers import AutoTokenizer

    from pretraining.reader import vocabulary

    if (a.out / "vocabulary").exists():
        return
    if a.start is None:
        vocabulary.train(a.out, a.encoder, a.seed)
    else:
        AutoTokenizer.from_pretrained(a.start).save_pretrained(a.out / "vocabulary")


def _settings(a: argparse.Namespace) -> Any:
    from pretraining.reader import train

    given = dict(part.split("=", 1) for part in a.set)
    kinds = {f.name: type(f.default) for f in dataclasses.fields(train.Settings)}
    if unknown := sorted(set(given) - set(kinds)):
        raise SystemExit(f"--set {unknown[0]}: unknown; choices: {', '.join(kinds)}")
    return train.Settings(
        minutes=a.minutes,
        planned_minutes=a.planned,
        seed=a.seed,
        data=a.data,
        encoder=a.encoder,
        start=a.start,
        **{name: kinds[name](value) for name, value in given.items()},
    )


def _train(a: argparse.Namespace) -> None:
    from pretraining.reader import train

    train.train(a.out, a.run, _settings(a), a.steps)


def _export(a: argparse.Namespace) -> None:
    from pretraining.reader import export

    print(json.dumps(export.export(a.out, a.run, a.model or a.run / "nano-reader")))


def _card(a: argparse.Namespace) -> None:
    from pretraining.reader import card

    measured = a.out / "evaluation.json"
    if not measured.exists():
        print(f"no card: {measured} is missing; python -m pretraining evaluate writes it")
        return
    found = json.loads(measured.read_text())
    card.write(a.model or a.run / "nano-reader", a.out, a.run, found, a.start)


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "pools": _pools,
    "vocabulary": _vocabulary,
    "train": _train,
    "export": _export,
    "card": _card,
}


def main() -> None:
    """Run one step, or all; finished steps are not done again, training goes on."""
    parser = argparse.ArgumentParser(prog="python -m pretraining.reader", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--data", type=Path, help="folder with corpus/ and data/", required=True)
    parser.add_argument("--out", type=Path, default=Path("pretraining/out"), help="the pools")
    parser.add_argument("--run", type=Path, default=Path("pretraining/out/reader"),
                        help="checkpoint and curve")  # fmt: skip
    parser.add_argument("--model", type=Path, help="model folder to write")
    parser.add_argument("--encoder", type=Path, help="sentence encoder's folder")
    parser.add_argument("--start", type=Path, help="model folder to go on training from")
    parser.add_argument("--minutes", type=float, default=60.0, help="limit of this call")
    parser.add_argument("--planned", type=float, default=95.0, help="minutes of the whole run")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="any other setting of train.Settings")  # fmt: skip
    parser.add_argument("--steps", type=int, help="stop at this optimiser step")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    import torch

    torch.set_num_threads(a.threads)
    for name, run in STEPS.items():
        if a.step in (name, "all"):
            run(a)


if __name__ == "__main__":
    main()
