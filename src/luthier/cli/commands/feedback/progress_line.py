"""One line of progress on stderr while a command works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shown_progress(what: str) -> Iterator[None]:
    """Show what the work inside reports; nothing where stderr is no terminal."""
    from luthier.cli.console import talk
    from luthier.context import WorkContext, working

    console = talk()
    if not console.is_terminal:
        yield
        return
    with console.status(what) as status:

        def progressed(done: float, total: float, message: str) -> None:
            status.update(f"{what}: {message} ({done:.0f} of {total:.0f})")

        with working(WorkContext(progress=progressed)):
            yield
