"""`luthier feedback agreement`: people with people, judges with people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store
from luthier.cli.shared_options import PrintJson

if TYPE_CHECKING:
    from luthier.scoring.judges.chance_corrected import Agreement


def agreement(
    folder: Folder = DEFAULT_FOLDER,
    as_json: PrintJson = False,
) -> None:
    """Do people agree with one another, and judges with them? With 95 % intervals."""
    from rich.table import Table

    from luthier.cli.console import data, print_json
    from luthier.feedback.agreement import agreement_report

    with open_store(folder) as store:
        report = agreement_report(store)
    if as_json:
        print_json(asdict(report))
        return
    console = data()
    people = " (some are scripts that play people: simulated)" if report.simulated else ""
    console.print(
        f"{report.opinions} preferences on {report.items} items{people}. "
        f"{report.people.name}: {_shown(report.people)} on {report.people.items} items judged by "
        f"two people or more; on {report.contradictions} of them people contradict one another."
    )
    table = Table("who", "source", "opinions", "ties", "agrees with people", "kappa", "")
    for rater in report.raters:
        notes = [
            *(["simulated"] if rater.simulated else []),
            *(["far off"] if rater.far_off else []),
            *(
                [f"prefers what is shown first: {rater.first_shown:.2f}"]
                if rater.first_shown is not None and abs(rater.first_shown - 0.5) > 0.25
                else []
            ),
        ]
        table.add_row(
            rater.who, rater.source, str(rater.opinions), str(rater.ties),
            f"{_shown(rater.agreement)} on {rater.agreement.items}", _shown(rater.kappa),
            ", ".join(notes),
        )  # fmt: skip
    console.print(table)


def _shown(found: Agreement) -> str:
    if found.value is None:
        return "–"
    low = "–" if found.low is None else f"{found.low:.2f}"
    high = "–" if found.high is None else f"{found.high:.2f}"
    return f"{found.value:.2f} [{low}–{high}]"
