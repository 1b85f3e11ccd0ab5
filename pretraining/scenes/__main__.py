"""Build, train, export and measure `mini-scene`: ``python -m pretraining.scenes all``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path


def _pool(a: argparse.Namespace) -> None:
    from pretraining.scenes import pool, words

    pool.build(a.out, a.count, a.seed, a.threads)
    words.build(a.out)


def _pictures(a: argparse.Namespace) -> None:
    from pretraining.scenes import learn_pictures

    learn_pictures.train(a.out, a.minutes, a.planned_pictures, a.seed)
    learn_pictures.write_latents(a.out)


def _meaning(a: argparse.Namespace) -> None:
    from pretraining.scenes import learn_meaning

    if not (a.out / learn_meaning.CHECKPOINT).exists():
        learn_meaning.train(a.out, a.meaning_steps, a.seed)


def _words(a: argparse.Namespace) -> None:
    from pretraining.scenes import learn_words

    settings = learn_words.Settings(seed=a.seed)
    learn_words.train(a.out, a.minutes, a.planned, settings, a.threads)


def _export(a: argparse.Namespace) -> None:
    from pretraining.scenes import export

    print(export.export(a.out, a.model or a.out / "mini-scene"))


def _measure(a: argparse.Namespace) -> None:
    """The measures are kept beside the checkpoints, and the card is written from them."""
    from pretraining.scenes import card, measure

    folder = a.model or a.out / "mini-scene"
    found = measure.measure(folder, measure.Amounts(seed=a.seed), say)
    (a.out / "measured.json").write_text(json.dumps(found, indent=1))
    card.write(folder, a.out, found)
    print(f"{folder / 'README.md'} in {found['seconds']} s")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _start(a: argparse.Namespace) -> None:
    from pretraining.scenes import warm_start

    if a.start is not None:
        warm_start.begin(a.out, a.start)


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "pool": _pool,
    "start": _start,
    "pictures": _pictures,
    "meaning": _meaning,
    "words": _words,
    "export": _export,
    "measure": _measure,
}


def main() -> None:
    """Run one step, or all; finished steps are not done again, training goes on."""
    parser = argparse.ArgumentParser(prog="python -m pretraining.scenes", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--out", type=Path, default=Path("pretraining/out/scenes"))
    parser.add_argument("--start", type=Path, help="pipeline to go on from")
    parser.add_argument("--model", type=Path, help="model folder to write")
    parser.add_argument("--count", type=int, default=180_000, help="pictures of the pool")
    parser.add_argument("--minutes", type=float, default=200.0, help="limit of this call")
    parser.add_argument("--planned-pictures", type=float, default=27.0,
                        help="minutes of the decoder's whole training")  # fmt: skip
    parser.add_argument("--planned", type=float, default=90.0,
                        help="minutes of the denoiser's whole training")  # fmt: skip
    parser.add_argument("--meaning-steps", type=int, default=600,
                        help="steps of the text encoder's own training")  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads, and processes that draw the pool"
    )
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    import torch

    torch.set_num_threads(a.threads)
    for name, run in STEPS.items():
        if a.step in (name, "all"):
            run(a)


if __name__ == "__main__":
    main()
