"""The bodies of requests, as the OpenAI API has them. Fields it does not name are ignored.

`context` is Luthier's own field: a passage to answer from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

MOST_TEXT = 4_000_000  # characters of one text
Temperature = Annotated[float, Field(ge=0, le=2)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Choices = Annotated[int, Field(ge=1, le=128)]
Stops = str | Annotated[list[str], Field(max_length=16)]
Text = Annotated[str, Field(max_length=MOST_TEXT)]
TokenIds = Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=200_000)]


class ModelBody(BaseModel):
    """What every body has."""

    model_config = ConfigDict(extra="ignore")

    model: str


class ContentPart(BaseModel):
    """A part of a message: a text, or a picture's address."""

    type: Literal["text", "image_url"]
    text: Text | None = None
    image_url: dict[str, Any] | None = None


class ChatMessage(BaseModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[ContentPart] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class JsonSchema(BaseModel):
    """The schema of a `response_format`."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    name: str = "answer"
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")


class ResponseFormat(BaseModel):
    """What form an answer takes."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(BaseModel):
    """`include_usage`: a last piece with the tokens."""

    include_usage: bool | None = None


class GenerationBody(ModelBody):
    """How to generate. What is not given is as the adaptation was evaluated."""

    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    stop: Stops | None = None
    n: Choices | None = None
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ChatBody(GenerationBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Tokens | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    context: Text | None = None


class CompletionBody(GenerationBody):
    """POST /v1/completions. `prompt` is a text, texts, token numbers, or lists of those."""

    prompt: (
        Text | Annotated[list[Text], Field(max_length=2048)] | TokenIds
        | Annotated[list[TokenIds], Field(max_length=2048)]
    )  # fmt: skip
    max_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    return_tokens_as_token_ids: bool | None = None


class EmbeddingBody(ModelBody):
    """POST /v1/embeddings."""

    input: (
        Text | Annotated[list[Text], Field(max_length=2048)] | TokenIds
        | Annotated[list[TokenIds], Field(max_length=2048)]
    )  # fmt: skip
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
