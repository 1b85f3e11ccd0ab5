"""Build, train, evaluate and export ``nano``: ``python -m pretraining all --data ../shared``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _data(a: argparse.Namespace) -> None:
    from pretraining.texts import corpus

    if not (a.out / "decontamination.json").exists():
        print(json.dumps(corpus.build(a.data, a.out, a.seed)))


def _teacher(a: argparse.Namespace) -> None:
    from pretraining import teacher

    if not (a.out / "neighbours.npy").exists():
        teacher.build(a.out, a.encoder, a.seed)


def _tokenizer(a: argparse.Namespace) -> None:
    from pretraining.texts import tokenizer

    if not (a.out / "tokenizer").exists():
        tokenizer.train(a.out, seed=a.seed)


def _settings(a: argparse.Namespace) -> Any:
    from pretraining import train

    given = dict(part.split("=", 1) for part in a.set)
    kinds = {f.name: type(f.default) for f in dataclasses.fields(train.Settings)}
    if unknown := sorted(set(given) - set(kinds)):
        raise SystemExit(f"--set {unknown[0]}: unknown; choices: {', '.join(kinds)}")
    return train.Settings(
        minutes=a.minutes,
        planned_tokens=a.tokens,
        seed=a.seed,
        device=a.device,
        start=a.start,
        scratch=a.scratch,
        encoder=a.encoder,
        **{name: kinds[name](value) for name, value in given.items()},
    )


def _sums(a: argparse.Namespace) -> None:
    from pretraining import sums

    sums.run(a.out, _settings(a))


def _train(a: argparse.Namespace) -> None:
    from pretraining import train

    train.train(a.out, _settings(a), a.steps)


def _export(a: argparse.Namespace) -> None:
    from pretraining import export

    folder = a.model[0] if a.model else a.out / "nano"
    print(json.dumps(export.export(a.out, folder)))
    print("agrees with transformers:", export.reload_matches(folder))


def _evaluate(a: argparse.Namespace) -> None:
    from pretraining import card, evaluate

    folders = a.model or [a.out / "nano"]
    size = evaluate.Size(a.queries, a.long_queries, a.draws, a.seed, a.lora_tokens)
    found = evaluate.evaluate(folders, a.data, a.out, size)
    print(json.dumps(found))
    print(evaluate.table(found))
    (a.out / "evaluation.json").write_text(json.dumps(found, indent=2) + "\n")
    if a.card and (a.out / "curve.jsonl").exists():
        card.write(folders[0], a.out, found)


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "data": _data,
    "teacher": _teacher,
    "tokenizer": _tokenizer,
    "sums": _sums,
    "train": _train,
    "export": _export,
    "evaluate": _evaluate,
}


def main() -> None:
    """Run one step, or all but `sums`; finished steps are not done again, training goes on."""
    parser = argparse.ArgumentParser(prog="python -m pretraining", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder with corpus/ and data/")
    parser.add_argument("--out", type=Path, default=Path("pretraining/out"), help="scratch folder")
    parser.add_argument("--model", type=Path, action="append",
                        help="model folder to write or measure; several side by side")  # fmt: skip
    parser.add_argument("--encoder", type=Path, help="sentence encoder's folder")
    parser.add_argument("--minutes", type=float, default=60.0, help="limit of this call")
    parser.add_argument("--tokens", type=float, default=9e6, help="length of the whole run")
    parser.add_argument("--start", type=Path, help="model folder to go on training from")
    parser.add_argument("--scratch", action="store_true", help="begin with random weights")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="any other setting of train.Settings")  # fmt: skip
    parser.add_argument("--steps", type=int, help="stop at this optimiser step")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's choice")
    parser.add_argument("--queries", type=int, default=100, help="test queries a draw")
    parser.add_argument("--long-queries", type=int, default=60,
                        help="the same where passages are read or tools called")  # fmt: skip
    parser.add_argument("--lora-tokens", type=int, default=700_000, help="0: no fit")
    parser.add_argument("--card", action="store_true", help="write the model card as well")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    if a.threads:
        os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(a.threads)
        import torch

        torch.set_num_threads(a.threads)
    for name, run in STEPS.items():
        if a.step == name or (a.step == "all" and name != "sums"):
            run(a)


if __name__ == "__main__":
    main()
