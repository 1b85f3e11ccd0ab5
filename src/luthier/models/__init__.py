"""What answers? A frozen base behind a backend, plus an adaptation."""

from luthier.content import Message
from luthier.models.adaptation import Adaptation, Adapter, Decoding, VirtualTokens, Weights
from luthier.models.backend import Backend, ModelFacts
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, PromptFormat

__all__ = [
    "Adaptation",
    "Adapter",
    "Backend",
    "Decoding",
    "Demonstration",
    "Message",
    "Model",
    "ModelFacts",
    "Prompt",
    "PromptFormat",
    "VirtualTokens",
    "Weights",
    "load",
]
