"""`luthier feedback sample`: two or more answers to each prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store
from luthier.cli.shared_options import PrintJson


def sample(
    models: Annotated[
        list[str],
        typer.Argument(help="A technique's folder (runs/<id>/lora) or any model; several compare."),
    ],
    prompts: Annotated[
        Path, typer.Option(help="JSON Lines with a `prompt` a row, or a text file: one a line.")
    ],
    answers: Annotated[int, typer.Option(help="Answers of each model to each prompt.")] = 2,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    batch: Annotated[str, typer.Option(help="A name for these items.", show_default=False)] = "",
    base: Annotated[
        str | None, typer.Option(help="The base, where it moved.", show_default=False)
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
    as_json: PrintJson = False,
) -> None:
    """Sample answers to judge. Run it again for more: what is there already stays.

    A quarter of the prompts is held out: opinions on them measure, and never train.
    """
    from luthier.cli.commands.feedback.bad_rows import show_bad
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.compare.run_folder import pick_folder
    from luthier.feedback.sample import SampledModel, read_prompts, sample_items
    from luthier.models.load import load

    asked, bad, place = read_prompts(prompts)
    with only_data_on_stdout(), open_store(folder, must_exist=False) as store:
        names = {m.name: m.folder for m in store.models()}
        opened = [(n, load(pick_folder(names.get(n, n)), base=base)) for n in models]
        items, without = sample_items(
            [
                SampledModel(name, model, model.lineage.technique if model.lineage else None)
                for name, model in opened
            ],
            asked,
            answers=answers,
            temperature=temperature,
            seed=seed,
            batch=batch,
        )
        new = store.add_items(items)
    held_out = sum(item.held_out for item in items)
    if as_json:
        print_json(
            {
                "prompts": len(asked),
                "items": len(items),
                "new": new,
                "held_out": held_out,
                "prompts_without_a_pair": without,
                "bad_rows": [{"place": b.place, "reason": b.reason} for b in bad],
            }
        )
    else:
        talk().print(
            f"{new} new items of {len(asked)} prompts in {folder} ({held_out} of {len(items)} held "
            f"out to measure); {without} prompts got no two different answers",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    show_bad(bad, place)
