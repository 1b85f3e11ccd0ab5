"""Luthier: one task, one base model, every way to adapt it, one verdict.

    import luthier

    model = luthier.load("nano")                    # or "org/name", a folder, an http endpoint
    task = luthier.Task.load("routing")             # or a task file
    tuned = luthier.SoftPrompt().fit(
        model, task.without_test(), budget=luthier.Budget(minutes=1)
    )
    print(luthier.evaluate(tuned, task).score)
    print(luthier.compare(task, "nano").verdict)

Names are loaded when first used, so that importing this package is fast and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("luthier")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"

_HOMES = {
    "load": "luthier.models.load",
    "Model": "luthier.models.model",
    "Adaptation": "luthier.models.adaptation",
    "Prompt": "luthier.models.prompt",
    "Demonstration": "luthier.models.prompt",
    "Task": "luthier.task.task",
    "Example": "luthier.records",
    "Budget": "luthier.records",
    "evaluate": "luthier.scoring.evaluation",
    "compare": "luthier.compare.run_comparison",
    "ZeroShot": "luthier.techniques.prompt.zero_shot",
    "FewShot": "luthier.techniques.prompt.few_shot",
    "PromptSearch": "luthier.techniques.prompt.prompt_search",
    "SoftPrompt": "luthier.techniques.soft.soft_prompt",
    "PrefixTuning": "luthier.techniques.soft.prefix_tuning",
    "LoRA": "luthier.techniques.adapter.lora",
    "IA3": "luthier.techniques.adapter.ia3",
    "FullFineTuning": "luthier.techniques.weights.full_fine_tuning",
    "Recipe": "luthier.techniques.recipe",
}

if TYPE_CHECKING:
    from luthier.compare.run_comparison import compare
    from luthier.models.adaptation import Adaptation
    from luthier.models.load import load
    from luthier.models.model import Model
    from luthier.models.prompt import Demonstration, Prompt
    from luthier.records import Budget, Example
    from luthier.scoring.evaluation import evaluate
    from luthier.task.task import Task
    from luthier.techniques.adapter.ia3 import IA3
    from luthier.techniques.adapter.lora import LoRA
    from luthier.techniques.prompt.few_shot import FewShot
    from luthier.techniques.prompt.prompt_search import PromptSearch
    from luthier.techniques.prompt.zero_shot import ZeroShot
    from luthier.techniques.recipe import Recipe
    from luthier.techniques.soft.prefix_tuning import PrefixTuning
    from luthier.techniques.soft.soft_prompt import SoftPrompt
    from luthier.techniques.weights.full_fine_tuning import FullFineTuning

__all__ = [
    "IA3",
    "Adaptation",
    "Budget",
    "Demonstration",
    "Example",
    "FewShot",
    "FullFineTuning",
    "LoRA",
    "Model",
    "PrefixTuning",
    "Prompt",
    "PromptSearch",
    "Recipe",
    "SoftPrompt",
    "Task",
    "ZeroShot",
    "__version__",
    "compare",
    "evaluate",
    "load",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
