"""`luthier terms`: which sentences of a prompt change the score, and which terms a picture's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.shared_options import USUAL_BASES, AllowCode, PrintJson, usual_base

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.scoring.terms import PictureDesign, PictureStudy, TermPlan, TermStudy
    from luthier.task.task import Task

USUAL_AWAY = 2  # negative terms among the usual ones


def terms(
    task: Annotated[str, typer.Argument(help="A task file, or the name of a bundled task.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            show_default=USUAL_BASES,
            help="A technique's folder, or any model.",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            help="A sentence, or of pictures a term, to try behind the instruction; several times.",
            show_default=False,
        ),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(
            help="A term of the negative prompt to try, of pictures; several times.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Answers or pictures to score, at most.", show_default="1024; 512 pictures"
        ),
    ] = None,
    design: Annotated[
        str, typer.Option(help="factorial, leave-one-out, or permutations (Shapley values).")
    ] = "factorial",
    seed: Annotated[int, typer.Option(help="Of the design, and of the noise of pictures.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the effect plot, with the contact sheet, to this HTML file."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it takes and can show, and stop.")
    ] = False,
    allow_code: AllowCode = False,
    as_json: PrintJson = False,
) -> None:
    """Which sentences of a prompt change the score, and how much, with intervals.

    The terms are shown and left out by a design, on dev examples; of pictures with shared seeds.
    The test split stays locked.
    """
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.cli.progress import reading_task
    from luthier.cli.work_bar import work_bar
    from luthier.compare.run_folder import pick_folder
    from luthier.models.load import load
    from luthier.task.task import Task

    with reading_task(talk()):
        opened = Task.load(task, allow_code=allow_code).without_test()
    pictures = opened.kind == "image"
    choice = _Choice(trials, design, tuple(add or ()), tuple(negative or ()), seed)
    with only_data_on_stdout():
        loaded = load(pick_folder(model or usual_base(opened.kind)))
        if pictures:
            choice = choice.with_usual_terms(loaded, opened)
        planned = choice.plan(loaded, opened)
        if not as_json:
            say_plan(planned, pictures=pictures)
        if plan:
            if as_json:
                print_json(planned.to_json())
            return
        with work_bar(talk(), "pictures" if pictures else "trials"):
            found = choice.study(loaded, opened)
    if out is not None:
        from luthier.report.terms_page import write_terms_page

        talk().print(f"Effect plot: {write_terms_page(found, out)}", markup=False)
    if as_json:
        print_json(found.to_json())
        return
    show(found)


@dataclass(frozen=True)
class _Choice:
    """What was asked for on the command line, for text and for pictures."""

    trials: int | None
    design: str
    added: tuple[str, ...]
    negatives: tuple[str, ...]
    seed: int

    def with_usual_terms(self, model: Model, task: Task) -> _Choice:
        """The same; where no term is named, neither here nor by the prompt, with those that people
        use and with what the targets say must not be seen."""
        from luthier.cli.console import talk
        from luthier.techniques.image import negative_search, term_search

        own = model.adaptation.prompt if model.adaptation.filled else task.base_prompt()
        if self.added or self.negatives or own.instruction or own.negative:
            return self
        talk().print("No terms are named: usual ones are tried. Yours: --add, --negative.")
        away = (*negative_search.forbidden_terms(task), *negative_search.USUAL_TERMS)
        return replace(self, added=term_search.USUAL_TERMS, negatives=away[:USUAL_AWAY])

    def plan(self, model: Model, task: Task) -> TermPlan:
        """What the study will take; its errors."""
        from luthier.scoring.terms import plan_picture_terms, plan_terms

        if task.kind == "image":
            return plan_picture_terms(model, task, self._of_pictures())
        self._check_text(model, task)
        return plan_terms(model, task, trials=self._answers, design=self.design, added=self.added)

    def study(self, model: Model, task: Task) -> TermStudy | PictureStudy:
        """The study."""
        from luthier.scoring.terms import study_picture_terms, study_terms

        if task.kind == "image":
            return study_picture_terms(model, task, self._of_pictures())
        return study_terms(
            model, task, trials=self._answers, design=self.design, added=self.added, seed=self.seed
        )

    @property
    def _answers(self) -> int:
        from luthier.scoring.terms import USUAL_TRIALS

        return USUAL_TRIALS if self.trials is None else self.trials

    def _of_pictures(self) -> PictureDesign:
        from luthier.scoring.terms import USUAL_PICTURES, PictureDesign

        return PictureDesign(
            USUAL_PICTURES if self.trials is None else self.trials,
            self.design, self.added, self.negatives, seed=self.seed,
        )  # fmt: skip

    def _check_text(self, model: Model, task: Task) -> None:
        from luthier.errors import UserError

        task.check_suits(model.backend)
        if self.negatives:
            raise UserError(
                f"--negative {self.negatives[0]!r} is for pictures, and task {task.name!r} asks "
                "for text",
                next_step="Write the sentence with --add.",
            )


def say_plan(plan: TermPlan, *, pictures: bool) -> None:
    """What the study will take, on stderr, before it begins."""
    from luthier.cli.console import talk
    from luthier.report.terms_words import plan_words
    from luthier.scoring.terms import COUNTED

    for line in plan_words(plan, COUNTED["pictures" if pictures else "text"]):
        talk().print(line, markup=False, soft_wrap=True)


def show(found: TermStudy | PictureStudy) -> None:
    """The study as a table and sentences on stdout."""
    from luthier.cli.console import data
    from luthier.report.sheet_view import picture_sentences
    from luthier.report.terms_words import effect_words, sentences_of
    from luthier.scoring.terms import PictureStudy

    if isinstance(found, PictureStudy):
        lines = [*effect_words(found.study), *picture_sentences(found)]
    else:
        lines = [*effect_words(found), *sentences_of(found)]
    for line in lines:
        data().print(line, markup=False, soft_wrap=True)
