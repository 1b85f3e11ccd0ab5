"""The feedback loop from end to end on `nano`, with a script that plays the annotator (simulated).

A first model, V0, learns to answer customers from replies of mixed quality: some are polite, some
name the queue, some go on and on. Then, twice: answers are sampled, the script says which of two it
prefers, and the next model learns it. `python examples/feedback/demo.py FOLDER` prints the rounds.

Win rates are told on prompts that no round learns from. A quarter of all prompts is held out by its
hash; a hundred of them or more make an interval that is worth reading.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import luthier
from luthier.cli.main import run
from luthier.ledger.opinions import make_item
from luthier.models.prompt import Prompt, PromptFormat

HERE = Path(__file__).parent
OPENINGS = ("Thank you for writing.", "Sorry to hear that.", "Right.", "Well then.")
TAILS = (
    "",
    "We will write to you again as soon as we know more, which may take some days because many "
    "people write to us at this time of the year and each message is read by hand by one of us.",
)
NAMES = {"complaint-to-a-person": "complaints"}
FIRST_ROWS = 200  # of routing, for V0; the rest are prompts that no model has seen
PROMPT = Prompt(
    instruction="Answer the customer.",
    format=PromptFormat(input_name="Customer", target_name="Reply", style="plain"),
)


def reply(queue: str, rng: random.Random) -> str:
    """A reply of mixed quality."""
    name = NAMES.get(queue, queue.replace("-", " "))
    about = rng.choice((f"Your message goes to {name}.", "Somebody will look at it."))
    return " ".join(part for part in (rng.choice(OPENINGS), about, rng.choice(TAILS)) if part)


def first_model(folder: Path, *, seed: int, tokens: int) -> Path:
    """V0: nano under a LoRA that learnt replies of mixed quality."""
    rng = random.Random(seed)
    routing = luthier.Task.load("routing")
    rows = [
        luthier.Example(e.id, e.text, reply(e.target, rng)) for e in (*routing.train, *routing.dev)
    ]
    task = luthier.Task.from_examples(
        {"train": rows[24:FIRST_ROWS], "dev": rows[:24], "test": rows[FIRST_ROWS:][:40]},
        kind="generate", instruction=PROMPT.instruction, name="replies",
        input_name="Customer", target_name="Reply",
    )  # fmt: skip
    model = luthier.load("nano").adapt(prompt=PROMPT)
    tuned = luthier.LoRA(learning_rates=(3e-3,), prompt="task", batch_size=2).fit(
        model, task.without_test(), budget=luthier.Budget(tokens=tokens), seed=seed
    )
    decoding = luthier.Decoding(max_new_tokens=64)
    return tuned.adapt(decoding=decoding).save(folder / "V0")


def unseen_prompts() -> list[str]:
    """What V0 did not learn from, each text once."""
    routing = luthier.Task.load("routing")
    learnt = (*routing.train, *routing.dev)
    return list(dict.fromkeys(e.text for e in (*routing.test, *learnt[FIRST_ROWS:])))


def is_held_out(text: str) -> bool:
    """Whether opinions on this prompt measure, and never train."""
    return make_item(text, ["one", "another"]).held_out


def prompts_file(path: Path, texts: list[str]) -> Path:
    """The prompts, one a line."""
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), "utf-8")
    return path


def command(*words: object) -> None:
    """One command of `luthier feedback`; the demo ends where it fails."""
    code = run(["feedback", *map(str, words)])
    if code not in (0, 1):
        raise SystemExit(code)


def main() -> None:
    """Run the loop and print its rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, default=200, help="to learn from")
    parser.add_argument("--held-out", type=int, default=120, help="prompts to measure on, at most")
    parser.add_argument("--methods", default="rejection,dpo,kto,ppo")
    parser.add_argument("--then", default="dpo", help="the method of the second round")
    parser.add_argument("--budget", default="120ktok", help="of each method")
    parser.add_argument("--first", type=int, default=60_000, help="tokens of V0's training")
    arguments = parser.parse_args()
    started, folder = time.perf_counter(), arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    at = ["--folder", folder]
    warm = ["--temperature", 0.8]
    judge = ["judge", "--script", f"{HERE / 'preference.py'}:taste", "--simulated", *at]

    first = first_model(folder, seed=arguments.seed, tokens=arguments.first)
    unseen = unseen_prompts()
    measured = [text for text in unseen if is_held_out(text)][: arguments.held_out]
    learnt = [text for text in unseen if not is_held_out(text)][: arguments.prompts]
    # Some of those that are held out are judged in round 1, to measure the reward model.
    prompts = prompts_file(folder / "prompts.jsonl", [*learnt, *measured[: len(learnt) // 4]])
    held_out = prompts_file(folder / "held-out.jsonl", measured)
    asked = ["--prompts", held_out, "--answers", 1, *warm]

    print("Round 1: V0 answers, the script prefers (simulated), four methods learn.", flush=True)
    command("sample", first, "--prompts", prompts, "--answers", 4, *warm, "--batch", "round-1", *at)
    command(*judge)
    command(
        "train", "--model", first, "--method", arguments.methods, "--budget", arguments.budget,
        "--name", "V1", "--seed", arguments.seed, "--task", "routing", *at,
    )  # fmt: skip
    methods = arguments.methods.split(",")
    made = ["V1"] if len(methods) == 1 else [f"V1-{name}" for name in methods]
    for name in made:
        command("sample", name, "V0", *asked, "--seed", 7, *at)
    command(*judge)

    best = _best(folder, made)
    print(f"Round 2: {best} answers, the script prefers (simulated).", flush=True)
    command("sample", best, "--prompts", prompts, "--answers", 4, *warm, "--seed", 1, *at)
    command(*judge)
    command(
        "train", "--from", best, "--method", arguments.then, "--budget", arguments.budget,
        "--name", "V2", "--seed", arguments.seed, "--task", "routing", *at,
    )  # fmt: skip
    for other in ("V0", best):
        command("sample", "V2", other, *asked, "--seed", 9, *at)
    command(*judge)
    command("agreement", *at)
    command("rounds", *at)
    print(f"{time.perf_counter() - started:.0f} s. The annotator is a script: simulated.")


def _best(folder: Path, names: list[str]) -> str:
    """The model that won most against V0."""
    from luthier.feedback.rounds import rounds
    from luthier.ledger.feedback_store import FeedbackStore

    with FeedbackStore(folder / "ledger.sqlite") as store:
        found = {r.name: r.against_first.value or 0.0 for r in rounds(store)}
    return max(names, key=lambda name: found[name])


if __name__ == "__main__":
    main()
