"""Which one should I use? Plan, run within a budget, verdict.

`luthier.compare` is this package and also a function: `luthier.compare(task, "nano")`. A package
and a function of one name can only be one object, because importing any module of the package binds
the name to the package; so the package itself can be called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.compare.comparison import Comparison, TechniqueResult
    from luthier.compare.listener import Listener, RunProgress
    from luthier.compare.options import Options
    from luthier.compare.run_comparison import compare
    from luthier.compare.verdict_record import Verdict

_HOMES = {
    "Comparison": "comparison",
    "TechniqueResult": "comparison",
    "Verdict": "verdict_record",
    "Listener": "listener",
    "RunProgress": "listener",
    "Options": "options",
    "compare": "run_comparison",
}

__all__ = [
    "Comparison",
    "Listener",
    "Options",
    "RunProgress",
    "TechniqueResult",
    "Verdict",
    "compare",
]


class _CallablePackage(ModuleType):
    def __call__(self, *values: Any, **named: Any) -> Comparison:
        from luthier.compare.run_comparison import compare

        return compare(*values, **named)


sys.modules[__name__].__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
