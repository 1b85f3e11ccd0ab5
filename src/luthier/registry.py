"""One registry for everything that can be plugged in: what ships with Luthier, and what installed
packages bring.

A package announces what it brings in its pyproject.toml, one group for each kind:

    [project.entry-points."luthier.techniques"]
    my-technique = "my_package.my_module:MyTechnique"

| kind | what the name refers to |
|---|---|
| techniques | a subclass of `luthier.Technique` |
| scorers | a function `(prediction, target) -> number`, or a `luthier.Scorer` |
| backends | a subclass of `luthier.Backend` with `open(name, *, device)`, for "NAME:…" |
| stores | a class or function that takes the address "NAME://…" and gives an `IndexStore` |
| embedders | a class or function that takes "NAME" or "NAME:…" and gives an `Embedder` |
| transcribers | a class or function that takes "NAME" or "NAME:…" and gives a `Transcriber` |
| tools | a class with `open(address)` that gives a `ToolSource` for "NAME:address", and a `card` |

Nothing is imported before it is asked for. A plugin that cannot be imported raises an error that
names it, and no other plugin suffers. A plugin that takes the name of a built-in is passed over,
with a warning on the log (stderr, unless the log is set up).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from luthier.errors import ModelError, TaskError, TechniqueError, UserError, did_you_mean


@dataclass(frozen=True, slots=True)
class ExtensionPoint:
    """One kind of thing that can be plugged in.

    **Fields**

    - `noun`, `error` and `hint` (a next step): for messages.
    - `contract`: where the contract is written down; `parts` are attributes that it asks for, by
      default to be called.
    - `built_in`: "module:attribute" by name.
    - `schemes`: built-in names by what an address begins with.
    """

    noun: str
    contract: str
    built_in: Mapping[str, str]
    schemes: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ("__call__",)
    error: type[UserError] = UserError
    hint: str = "Install the package that brings it."


log = logging.getLogger(__name__)
_SCORERS = "luthier.scoring.scorers"
_TRANSCRIBERS = "luthier.speech.transcribers"
_TOOLS = "luthier.tools.builtin"
_TOOL_KINDS = {
    "calculator": f"{_TOOLS}.calculator:Calculator",
    "clock": f"{_TOOLS}.clock:Clock",
    "sql": f"{_TOOLS}.sql:SqlDatabase",
    "knowledge": f"{_TOOLS}.knowledge_search:KnowledgeSearch",
    "browser": "luthier.tools.web.web_page:WebBrowser",
    "search": "luthier.tools.web.web_search:WebSearch",
    "openapi": "luthier.tools.openapi.api_tools:OpenApiService",
    "python": "luthier.tools.sandbox.python_code:PythonCode",
    "lookup": f"{_TOOLS}.table_lookup:TableLookup",
    "mcp": "luthier.tools.mcp_client.mcp_tools:McpServer",
}
EXTENSION_POINTS: Mapping[str, ExtensionPoint] = {
    "techniques": ExtensionPoint(
        noun="technique",
        error=TechniqueError,
        hint='A recipe is written "few-shot -> lora".',
        contract="luthier.Technique",
        parts=("name", "family", "needs", "trained", "card", "footprint", "fit", "chain"),
        built_in={
            "zero-shot": "luthier.techniques.prompt.zero_shot:ZeroShot",
            "few-shot": "luthier.techniques.prompt.few_shot:FewShot",
            "reasoning": "luthier.techniques.prompt.reasoning:Reasoning",
            "prompt-search": "luthier.techniques.prompt.prompt_search:PromptSearch",
            "soft-prompt": "luthier.techniques.soft.soft_prompt:SoftPrompt",
            "prefix": "luthier.techniques.soft.prefix_tuning:PrefixTuning",
            "lora": "luthier.techniques.adapter.lora:LoRA",
            "dpo": "luthier.techniques.preference.dpo:DPO",
            "kto": "luthier.techniques.preference.kto:KTO",
            "rejection": "luthier.techniques.preference.rejection_sampling:RejectionSampling",
            "ppo": "luthier.techniques.preference.ppo_technique:PPO",
            "ghost-attention": "luthier.techniques.preference.ghost_attention:GhostAttention",
            "ia3": "luthier.techniques.adapter.ia3:IA3",
            "full": "luthier.techniques.weights.full_fine_tuning:FullFineTuning",
            "textual-inversion": "luthier.techniques.image.textual_inversion:TextualInversion",
            "picture-lora": "luthier.techniques.image.picture_lora:PictureLoRA",
            "picture-full": "luthier.techniques.image.picture_weights:PictureFullFineTuning",
            "distil": "luthier.techniques.distil:Distil",
            "term-search": "luthier.techniques.image.term_search:TermSearch",
            "negative-search": "luthier.techniques.image.negative_search:NegativeSearch",
            "guidance-search": "luthier.techniques.image.guidance_search:GuidanceSearch",
            "linear-probe": "luthier.techniques.head.linear_probe:LinearProbe",
            "rag": "luthier.techniques.rag.rag:RAG",
            "raft": "luthier.techniques.rag.raft:RAFT",
            "query-map": "luthier.techniques.rag.query_map:QueryMap",
            "tools": "luthier.techniques.tools.tool_calling:ToolCalling",
        },
    ),
    "scorers": ExtensionPoint(
        noun="scorer",
        error=TaskError,
        hint="Name one of these in the task's `scorer`.",
        contract="luthier.Scorer",
        parts=(),
        built_in={
            "accuracy": f"{_SCORERS}.class_labels:ACCURACY",
            "macro-f1": f"{_SCORERS}.class_labels:MACRO_F1",
            "exact-match": f"{_SCORERS}.short_answers:EXACT_MATCH",
            "token-f1": f"{_SCORERS}.short_answers:TOKEN_F1",
            "rouge-1": f"{_SCORERS}.rouge:ROUGE_1",
            "rouge-2": f"{_SCORERS}.rouge:ROUGE_2",
            "rouge-l": f"{_SCORERS}.rouge:ROUGE_L",
            "chrf": f"{_SCORERS}.chrf:CHRF",
            "bleu": f"{_SCORERS}.bleu:BLEU",
            "regex": f"{_SCORERS}.patterns:REGEX",
            "json-schema": f"{_SCORERS}.structured:JSON_SCHEMA",
            "json-fields": f"{_SCORERS}.structured:JSON_FIELDS",
            "call-match": f"{_SCORERS}.tool_calls:CALL_MATCH",
            "perplexity": f"{_SCORERS}.likelihood:PERPLEXITY",
            "scene": f"{_SCORERS}.scene_check:SCENE",
            "scene-facts": f"{_SCORERS}.scene_check:SCENE_FACTS",
        },
    ),
    "backends": ExtensionPoint(
        noun="backend",
        error=ModelError,
        contract="luthier.Backend",
        parts=("open", "generate", "score"),
        built_in={
            "local": "luthier.engine.local_backend:LocalBackend",
            "endpoint": "luthier.models.endpoint:EndpointBackend",
            "fake": "luthier.models.fake:FakeBackend",
            "pictures": "luthier.images.picture_backend:PictureBackend",
            "fake-scenes": "luthier.images.scripted_scenes:ScriptedScenes",
        },
        schemes={
            "fake": "fake",
            "fake-scenes": "fake-scenes",
            "http": "endpoint",
            "https": "endpoint",
        },
    ),
    "stores": ExtensionPoint(
        noun="store of indexes",
        contract="luthier.retrieval.index_store.IndexStore",
        built_in={
            "sqlite": "luthier.retrieval.stores.sqlite:SqliteStore",
            "lancedb": "luthier.retrieval.stores.lance:LanceStore",
            "postgresql": "luthier.retrieval.stores.postgres:PostgresStore",
            "qdrant": "luthier.retrieval.stores.qdrant:QdrantStore",
        },
        schemes={
            "lancedb": "lancedb",
            "postgresql": "postgresql",
            "postgres": "postgresql",
            "qdrant": "qdrant",
            "qdrant+http": "qdrant",
            "qdrant+https": "qdrant",
        },
    ),
    "embedders": ExtensionPoint(
        noun="embedder",
        contract="luthier.retrieval.embed.Embedder",
        built_in={
            "minilm": "luthier.retrieval.embed.minilm:MiniLM",
            "endpoint": "luthier.retrieval.embed.endpoint_embedder:EndpointEmbedder.connect",
            "sentence-transformers": "luthier.retrieval.embed.sentence:SentenceEmbedder",
        },
        schemes={"minilm": "minilm", "http": "endpoint", "https": "endpoint"},
    ),
    "transcribers": ExtensionPoint(
        noun="transcriber",
        error=TaskError,
        hint="Name one of these in the task's `transcribe`.",
        contract="luthier.speech.Transcriber",
        built_in={
            "pocketsphinx": f"{_TRANSCRIBERS}.pocketsphinx_english:PocketSphinx",
            "whisper": f"{_TRANSCRIBERS}.whisper_folder:WhisperFolder",
            "endpoint": f"{_TRANSCRIBERS}.transcription_server:TranscriptionServer",
        },
        schemes={"http": "endpoint", "https": "endpoint"},
    ),
    "tools": ExtensionPoint(
        noun="kind of tools",
        hint="See: luthier tools",
        contract="luthier.tools.ToolSource",
        parts=("open", "card"),
        built_in=_TOOL_KINDS,
        schemes={name: name for name in _TOOL_KINDS},
    ),
}


def names(kind: str) -> tuple[str, ...]:
    """All names of a kind, the built-in ones first. Nothing is imported."""
    return (*EXTENSION_POINTS[kind].built_in, *plugin_names(kind))


def plugin_names(kind: str) -> tuple[str, ...]:
    """The names that installed packages bring."""
    return tuple(sorted(_plugins(kind)))


def has(kind: str, name: str) -> bool:
    """Whether `name` is a name of this kind."""
    key = _key(name)
    return key in EXTENSION_POINTS[kind].built_in or key in _plugins(kind)


def get(kind: str, name: str) -> Any:
    """What `name` refers to, imported now.

    Raises the error of the kind (a UserError) for an unknown name, with the choices and the closest
    one, and for a plugin that cannot be imported or lacks a part of its contract, with the reason.
    """
    point, key = EXTENSION_POINTS[kind], _key(name)
    built_in = point.built_in.get(key)
    if built_in is not None:
        return EntryPoint(key, built_in, f"luthier.{kind}").load()
    plugin = _plugins(kind).get(key)
    if plugin is None:
        choices = names(kind)
        raise point.error(
            f"There is no {point.noun} {name!r}",
            choices=choices,
            next_step=did_you_mean(key, choices) or point.hint,
        )
    return _import(point, key, plugin)


def addressed(kind: str, address: str) -> str | None:
    """The name that an address begins with ("NAME:…", or "NAME" alone); None where it begins with
    none, as a path or a hub id does."""
    scheme, colon, _ = address.partition(":")
    name = EXTENSION_POINTS[kind].schemes.get(scheme)
    if name is None and _key(scheme) in _plugins(kind):
        name = _key(scheme)
    return name if colon or name == _key(scheme) else None


def load_all(kind: str) -> tuple[dict[str, Any], tuple[UserError, ...]]:
    """Everything of a kind by name, and the errors of the plugins that could not be imported."""
    found: dict[str, Any] = {}
    problems: list[UserError] = []
    for name in names(kind):
        try:
            found[name] = get(kind, name)
        except EXTENSION_POINTS[kind].error as error:
            problems.append(error)
    return found, tuple(problems)


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")


@lru_cache
def _plugins(kind: str) -> Mapping[str, EntryPoint]:
    """What installed packages announce for a kind; a name that is taken already is passed over."""
    point = EXTENSION_POINTS[kind]
    found: dict[str, EntryPoint] = {}
    for plugin in entry_points(group=f"luthier.{kind}"):
        key = _key(plugin.name)
        if key in point.built_in or (key in found and found[key].value != plugin.value):
            owner = "of Luthier itself" if key in point.built_in else f"({found[key].value})"
            log.warning(
                "The %s %r of a plugin (%s) is passed over: the name belongs to a %s %s",
                point.noun, key, plugin.value, point.noun, owner,
            )  # fmt: skip
            continue
        found[key] = plugin
    return found


def _import(point: ExtensionPoint, name: str, plugin: EntryPoint) -> Any:
    try:
        found = plugin.load()
    except (Exception, SystemExit) as error:
        raise point.error(
            f"The plugin {point.noun} {name!r} ({plugin.value}) could not be imported: "
            f"{type(error).__name__}: {error}",
            next_step="Mend or remove the package that brings it.",
        ) from error
    missing = [attribute for attribute in point.parts if not hasattr(found, attribute)]
    if missing:
        raise point.error(
            f"The plugin {point.noun} {name!r} ({plugin.value}) lacks {', '.join(missing)}",
            next_step=f"See {point.contract} for what it must have.",
        )
    return found
