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
from typing import TYPE_CHECKING, Any

# The module of every exported name.
_HOMES = {
    name: module
    for module, names in {
        "luthier.compare.comparison": ("Comparison", "TechniqueResult"),
        "luthier.compare.options": ("Options",),
        "luthier.compare.run_comparison": ("compare",),
        "luthier.compare.verdict_record": ("Verdict",),
        "luthier.content": (
            "Citation",
            "Conversation",
            "GhostAttention",
            "Grounding",
            "Image",
            "Message",
            "Response",
            "Text",
            "ToolCall",
            "ToolResult",
            "ToolSignature",
            "ToolStep",
            "Usage",
        ),
        "luthier.errors": (
            "BackendError",
            "BudgetError",
            "CapabilityError",
            "FeedbackError",
            "InterruptedRun",
            "LockedSplitError",
            "LuthierError",
            "ModelError",
            "StorageError",
            "TaskError",
            "TechniqueError",
            "UserError",
        ),
        "luthier.models.adaptation": (
            "Adaptation",
            "Adapter",
            "Decoding",
            "Head",
            "Knowledge",
            "ToolUse",
            "VirtualTokens",
            "Weights",
        ),
        "luthier.models.backend": ("Backend", "ModelFacts", "PooledStates"),
        "luthier.models.load": ("load",),
        "luthier.models.model": ("Model",),
        "luthier.models.prompt": ("Demonstration", "Prompt", "PromptFormat"),
        "luthier.records": (
            "Budget",
            "Capability",
            "EvalResult",
            "Example",
            "FitRecord",
            "FitStep",
            "HelperUse",
            "Kind",
            "Lineage",
            "PairedTest",
            "Recording",
            "SampleScore",
            "Score",
            "StepRecord",
            "TrainingFacts",
            "Transcripts",
        ),
        "luthier.scoring.evaluation": ("evaluate",),
        "luthier.scoring.scorer": ("Scorer",),
        "luthier.task.task": ("Task",),
        "luthier.techniques.adapter.ia3": ("IA3",),
        "luthier.techniques.adapter.lora": ("LoRA",),
        "luthier.techniques.base": ("Card", "Footprint", "Technique", "check_needs", "settings_of"),
        "luthier.techniques.distil": ("Distil",),
        "luthier.techniques.head.linear_probe": ("LinearProbe",),
        "luthier.techniques.image.guidance_search": ("GuidanceSearch",),
        "luthier.techniques.image.negative_search": ("NegativeSearch",),
        "luthier.techniques.image.term_search": ("TermSearch",),
        "luthier.techniques.image.picture_lora": ("PictureLoRA",),
        "luthier.techniques.image.picture_weights": ("PictureFullFineTuning",),
        "luthier.techniques.image.textual_inversion": ("TextualInversion",),
        "luthier.techniques.preference.dpo": ("DPO",),
        "luthier.techniques.preference.ghost_attention": ("GhostAttention",),
        "luthier.techniques.preference.kto": ("KTO",),
        "luthier.techniques.preference.ppo_technique": ("PPO",),
        "luthier.techniques.preference.rejection_sampling": ("RejectionSampling",),
        "luthier.techniques.prompt.few_shot": ("FewShot",),
        "luthier.techniques.prompt.prompt_search": ("PromptSearch",),
        "luthier.techniques.prompt.reasoning": ("Reasoning",),
        "luthier.techniques.prompt.zero_shot": ("ZeroShot",),
        "luthier.techniques.rag.query_map": ("QueryMap",),
        "luthier.techniques.rag.raft": ("RAFT",),
        "luthier.techniques.rag.rag": ("RAG",),
        "luthier.techniques.recipe": ("Recipe",),
        "luthier.techniques.soft.prefix_tuning": ("PrefixTuning",),
        "luthier.techniques.soft.soft_prompt": ("SoftPrompt",),
        "luthier.techniques.tools.tool_calling": ("ToolCalling",),
        "luthier.techniques.weights.full_fine_tuning": ("FullFineTuning",),
        "luthier.tools": ("Permissions", "Tool", "Toolbox", "ToolLimits", "open_toolbox"),
    }.items()
    for name in names
}

if TYPE_CHECKING:
    from luthier.compare.comparison import Comparison, TechniqueResult
    from luthier.compare.options import Options
    from luthier.compare.run_comparison import compare
    from luthier.compare.verdict_record import Verdict
    from luthier.content import (
        Citation,
        Conversation,
        Grounding,
        Image,
        Message,
        Response,
        Text,
        ToolCall,
        ToolResult,
        ToolSignature,
        ToolStep,
        Usage,
    )
    from luthier.errors import (
        BackendError,
        BudgetError,
        CapabilityError,
        FeedbackError,
        InterruptedRun,
        LockedSplitError,
        LuthierError,
        ModelError,
        StorageError,
        TaskError,
        TechniqueError,
        UserError,
    )
    from luthier.models.adaptation import (
        Adaptation,
        Adapter,
        Decoding,
        Head,
        Knowledge,
        ToolUse,
        VirtualTokens,
        Weights,
    )
    from luthier.models.backend import Backend, ModelFacts, PooledStates
    from luthier.models.load import load
    from luthier.models.model import Model
    from luthier.models.prompt import Demonstration, Prompt, PromptFormat
    from luthier.records import (
        Budget,
        Capability,
        EvalResult,
        Example,
        FitRecord,
        FitStep,
        HelperUse,
        Kind,
        Lineage,
        PairedTest,
        Recording,
        SampleScore,
        Score,
        StepRecord,
        TrainingFacts,
        Transcripts,
    )
    from luthier.scoring.evaluation import evaluate
    from luthier.scoring.scorer import Scorer
    from luthier.task.task import Task
    from luthier.techniques.adapter.ia3 import IA3
    from luthier.techniques.adapter.lora import LoRA
    from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
    from luthier.techniques.distil import Distil
    from luthier.techniques.head.linear_probe import LinearProbe
    from luthier.techniques.image.guidance_search import GuidanceSearch
    from luthier.techniques.image.negative_search import NegativeSearch
    from luthier.techniques.image.picture_lora import PictureLoRA
    from luthier.techniques.image.picture_weights import PictureFullFineTuning
    from luthier.techniques.image.term_search import TermSearch
    from luthier.techniques.image.textual_inversion import TextualInversion
    from luthier.techniques.preference.dpo import DPO
    from luthier.techniques.preference.ghost_attention import GhostAttention
    from luthier.techniques.preference.kto import KTO
    from luthier.techniques.preference.ppo_technique import PPO
    from luthier.techniques.preference.rejection_sampling import RejectionSampling
    from luthier.techniques.prompt.few_shot import FewShot
    from luthier.techniques.prompt.prompt_search import PromptSearch
    from luthier.techniques.prompt.reasoning import Reasoning
    from luthier.techniques.prompt.zero_shot import ZeroShot
    from luthier.techniques.rag.query_map import QueryMap
    from luthier.techniques.rag.raft import RAFT
    from luthier.techniques.rag.rag import RAG
    from luthier.techniques.recipe import Recipe
    from luthier.techniques.soft.prefix_tuning import PrefixTuning
    from luthier.techniques.soft.soft_prompt import SoftPrompt
    from luthier.techniques.tools.tool_calling import ToolCalling
    from luthier.techniques.weights.full_fine_tuning import FullFineTuning
    from luthier.tools import Permissions, Tool, Toolbox, ToolLimits, open_toolbox

    __version__: str

__all__ = [
    "DPO",
    "IA3",
    "KTO",
    "PPO",
    "RAFT",
    "RAG",
    "Adaptation",
    "Adapter",
    "Backend",
    "BackendError",
    "Budget",
    "BudgetError",
    "Capability",
    "CapabilityError",
    "Card",
    "Citation",
    "Comparison",
    "Conversation",
    "Decoding",
    "Demonstration",
    "Distil",
    "EvalResult",
    "Example",
    "FeedbackError",
    "FewShot",
    "FitRecord",
    "FitStep",
    "Footprint",
    "FullFineTuning",
    "GhostAttention",
    "Grounding",
    "GuidanceSearch",
    "Head",
    "HelperUse",
    "Image",
    "InterruptedRun",
    "Kind",
    "Knowledge",
    "Lineage",
    "LinearProbe",
    "LoRA",
    "LockedSplitError",
    "LuthierError",
    "Message",
    "Model",
    "ModelError",
    "ModelFacts",
    "NegativeSearch",
    "Options",
    "PairedTest",
    "Permissions",
    "PictureFullFineTuning",
    "PictureLoRA",
    "PooledStates",
    "PrefixTuning",
    "Prompt",
    "PromptFormat",
    "PromptSearch",
    "QueryMap",
    "Reasoning",
    "Recipe",
    "Recording",
    "RejectionSampling",
    "Response",
    "SampleScore",
    "Score",
    "Scorer",
    "SoftPrompt",
    "StepRecord",
    "StorageError",
    "Task",
    "TaskError",
    "Technique",
    "TechniqueError",
    "TechniqueResult",
    "TermSearch",
    "Text",
    "TextualInversion",
    "Tool",
    "ToolCall",
    "ToolCalling",
    "ToolLimits",
    "ToolResult",
    "ToolSignature",
    "ToolStep",
    "ToolUse",
    "Toolbox",
    "TrainingFacts",
    "Transcripts",
    "Usage",
    "UserError",
    "Verdict",
    "VirtualTokens",
    "Weights",
    "ZeroShot",
    "__version__",
    "check_needs",
    "compare",
    "evaluate",
    "load",
    "open_toolbox",
    "settings_of",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("luthier")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0.0.0"
