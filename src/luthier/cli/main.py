"""`luthier`: the commands, and how their errors are shown.

Exit codes: 0 done; 1 an error in Luthier or of the machine; 2 input that the user can correct;
130 Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from luthier import interrupts
from luthier.cli.commands.ask import ask
from luthier.cli.commands.compare import compare
from luthier.cli.commands.evaluate import evaluate
from luthier.cli.commands.export import export
from luthier.cli.commands.feedback import feedback
from luthier.cli.commands.index import index
from luthier.cli.commands.key import key
from luthier.cli.commands.mcp import mcp
from luthier.cli.commands.predict import predict
from luthier.cli.commands.probe import probe
from luthier.cli.commands.report import report
from luthier.cli.commands.search import search
from luthier.cli.commands.serve import serve
from luthier.cli.commands.studio import studio
from luthier.cli.commands.tasks import tasks
from luthier.cli.commands.techniques import techniques
from luthier.cli.commands.terms import terms
from luthier.cli.commands.tools import tools
from luthier.cli.commands.verify import verify
from luthier.cli.console import as_storage_error, show_error, show_unexpected, talk
from luthier.errors import InterruptedRun, LuthierError, UserError

INTERRUPTED = 130

app = typer.Typer(
    name="luthier",
    help="One task, one base model, every way to adapt it: compared, with a verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
COMMANDS = (
    compare, ask, predict, report, evaluate, techniques, tasks, index, search, serve, verify,
    export, tools, key, mcp, studio, terms, probe,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(feedback)


@app.command()
def version() -> None:
    """Print the version."""
    import luthier

    typer.echo(luthier.__version__)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """One task, one base model, every way to adapt it: compared, with a verdict."""
    if show_version:
        version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code. A traceback is shown with LUTHIER_DEBUG=1 only."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not os.environ.get("LUTHIER_DEBUG"):
        warnings.simplefilter("ignore")  # libraries warn their developers, not our users
    # The signal that ends a job on a cluster is treated as Ctrl-C: what is finished is kept.
    interrupts.install()
    code = run(typed)
    if code == INTERRUPTED:
        # Where the interrupt passed through an `exec` (an import that was under way), CPython
        # would end the process by SIGINT although it was handled, and lose the code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(typed: Sequence[str]) -> int:
    """Run a command; an error is shown and becomes an exit code."""
    try:
        code = app(args=list(typed), prog_name="luthier", standalone_mode=False)
    except TyperException as error:
        show_error(_usage(error, typed))
        return int(getattr(error, "exit_code", 2))
    except InterruptedRun as error:
        show_error(error)
        if not isinstance(error.__cause__, KeyboardInterrupt):
            return error.exit_code
        talk().print(f"  {shlex.join(['luthier', *typed])}", markup=False, soft_wrap=True)
        return INTERRUPTED
    except LuthierError as error:
        show_error(error)
        return error.exit_code
    except typer.Abort as error:
        if not interrupts.requested(error):
            talk().print("Cancelled; nothing was run.")
            return 1
        code = INTERRUPTED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _quiet_stdout()
        return 1
    except OSError as error:
        disk_full = as_storage_error(error)
        if disk_full is None:
            show_unexpected(error)
        else:
            show_error(disk_full)
        return 1
    except Exception as error:
        if not interrupts.requested(error):
            show_unexpected(error)
            return 1
        code = INTERRUPTED
    if code == INTERRUPTED:
        talk().print("Stopped. Run the same command again:")
        talk().print(f"  {shlex.join(['luthier', *typed])}", markup=False, soft_wrap=True)
    return code if isinstance(code, int) else 0


def _usage(error: TyperException, typed: Sequence[str]) -> UserError:
    describe = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "luthier"
    return UserError(
        str(describe() if callable(describe) else error),
        next_step=f"See {command} --help. You typed: {shlex.join(['luthier', *typed])}",
    )


def _quiet_stdout() -> None:
    """The reader of stdout has gone; discard the interpreter's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
