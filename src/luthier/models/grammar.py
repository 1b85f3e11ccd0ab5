"""What a generated answer may be, as a grammar for llguidance: a list, a regex or a JSON schema.

Nothing here imports torch or llguidance unless a constraint is set, so that a bad one raises an
error before any weights load. White space at the ends of an answer never counts: every grammar
takes one space before the answer, because a plain prompt ("Label:") ends without one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from luthier.errors import TechniqueError
from luthier.safety.timed_schema import SchemaTimeoutError, TimedValidator

if TYPE_CHECKING:
    from luthier.models.adaptation import Decoding

# One space at most after separators, none elsewhere: a weak model would go on with white space
# for ever. Keywords the grammar cannot express are left to the check of the finished answer.
JSON_OPTIONS = {
    "whitespace_flexible": False,
    "item_separator": ", ?",
    "key_separator": ": ?",
    "lenient": True,
}
MOST_STEPS = 1000  # of drawing a picture
CLOSED_TYPES = ("object", "array")  # JSON types whose text shows where it ends


def schema_text(schema: str | Mapping[str, Any]) -> str:
    """The schema as one JSON text, keys in their order, which is the order of the answer's keys.

    Raises TechniqueError when it is not a JSON schema, or one that no grammar can follow.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise TechniqueError(
                f"json_schema is not JSON: {error}", next_step='Write {"type": "object", ...}.'
            ) from error
    if not isinstance(schema, Mapping):
        raise TechniqueError(
            f"json_schema is {json.dumps(schema)[:60]}, not a JSON object",
            next_step='Write {"type": "object", "properties": {...}, "required": [...]}.',
        )
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError) as error:
        raise TechniqueError(
            f"json_schema holds something that JSON cannot: {error}",
            next_step="Use texts, numbers, lists, mappings, true, false and null only.",
        ) from error
    _check_schema(text)
    return text


def check_decoding(decoding: Decoding) -> None:
    """TechniqueError when the settings cannot be followed, alone or together."""

    def refuse(setting: str, must: str) -> None:
        value = getattr(decoding, setting)
        raise TechniqueError(f"{setting} is {value!r}", next_step=f"{setting} must be {must}.")

    if decoding.max_new_tokens < 1:
        refuse("max_new_tokens", "at least 1")
    if not 0 <= decoding.temperature < math.inf:
        refuse("temperature", "0 (greedy) or a number above it")
    if not 0 <= decoding.guidance < math.inf:
        refuse("guidance_scale", "0 or a number above it; 1 is no guidance")
    if decoding.steps is not None and not 1 <= decoding.steps <= MOST_STEPS:
        refuse("steps", f"from 1 to {MOST_STEPS:,}")
    if not 0 <= decoding.negative_from <= decoding.negative_until <= 1:
        refuse("negative_from", "a share of the schedule, from 0 to `negative_until` (1 at most)")
    if decoding.votes < 1:
        refuse("votes", "at least 1")
    if decoding.thinking_tokens < 0:
        refuse("thinking_tokens", "0 (no thought) or more")
    if decoding.thinking_tokens and decoding.guidance != 1.0:
        refuse("guidance_scale", "1 where a thought comes before the answer")
    if "" in decoding.stop:
        refuse("stop", "texts of at least one character")
    if decoding.votes > 1 and decoding.temperature == 0:
        raise TechniqueError(
            f"votes is {decoding.votes} and temperature 0, so that all votes would be the same",
            next_step="Set a temperature, such as 0.7, or votes to 1.",
        )
    constraints = ("labels", "regex", "json_schema")
    used = [name for name in constraints if getattr(decoding, name)]
    if len(used) > 1:
        raise TechniqueError(
            f"{' and '.join(used)} constrain one answer twice", next_step="Keep one of them."
        )
    if decoding.regex is not None:
        check_regex(decoding.regex)


def grammar_of(decoding: Decoding, labels: Sequence[str]) -> str | None:
    """The grammar that answers follow, None for free text. `labels` are written as in an answer."""
    if labels:
        return choices_grammar(labels, decoding.stop)
    if decoding.regex is not None:
        return regex_grammar(decoding.regex, decoding.stop)
    if decoding.json_schema is not None:
        return schema_grammar(str(decoding.json_schema), decoding.stop)
    return None


def ends_by_itself(decoding: Decoding) -> bool:
    """Whether the constraint alone shows where an answer ends, so that stop strings are content."""
    schema = decoding.json_schema
    return schema is not None and json.loads(str(schema)).get("type") in CLOSED_TYPES


def check_regex(pattern: str) -> None:
    """TechniqueError for a pattern that no grammar can follow."""
    _check(
        regex_grammar(pattern, ()),
        f"regex {pattern!r} does not compile",
        "The syntax is that of Rust's regex crate: no look-around, no \\b, no back-references; "
        "^ and $ only at the ends.",
    )


def regex_grammar(pattern: str, stop: Sequence[str]) -> str:
    """A grammar of one pattern, anchored at both ends; a stop string may follow."""
    body = unanchored(pattern)
    ends = f"(?:{'|'.join(map(literal, stop))})?" if stop else ""
    whole = f" ?(?:{body}){ends}".replace("\n", r"\n")
    # A slash ends a pattern in this notation. What stands before it decides whether it is escaped.
    whole = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", whole)
    return f"start: /{whole}/"


def unanchored(pattern: str) -> str:
    """A pattern without ^ at its beginning and $ at its end."""
    body = pattern.removeprefix("^")
    return body[:-1] if re.search(r"(?<!\\)(\\\\)*\$$", body) else body


def choices_grammar(choices: Sequence[str], stop: Sequence[str]) -> str:
    """A grammar of a list of texts; a stop string may follow."""
    return regex_grammar("|".join(literal(c.strip()) for c in choices), stop)


def schema_grammar(schema: str, stop: Sequence[str]) -> str:
    """A grammar of a JSON schema. A stop string may follow a value that does not show its end."""
    content = json.loads(schema)
    options = {**JSON_OPTIONS, **content.get("x-guidance", {})}
    answer = json.dumps({**content, "x-guidance": options})
    if not stop or content.get("type") in CLOSED_TYPES:
        return f'start: " "? answer\nanswer: %json {answer}'
    ends = "|".join(map(literal, stop))
    return f'start: " "? answer END?\nEND: /{ends}/\nanswer: %json {answer}'


@lru_cache(maxsize=256)
def _check_schema(text: str) -> None:
    from jsonschema.exceptions import SchemaError

    try:
        TimedValidator(json.loads(text))
    except (SchemaTimeoutError, RecursionError) as error:
        raise TechniqueError(
            f"json_schema cannot be checked: {error}", next_step="Write it more simply."
        ) from error
    except SchemaError as error:
        raise TechniqueError(
            f"json_schema is not a valid JSON schema: {error.message[:160]} (at {error.json_path})",
            next_step="See json-schema.org/understanding-json-schema.",
        ) from error
    _check(
        schema_grammar(text, ()),
        "json_schema cannot be followed while an answer is written",
        "Simplify it (no schema that nothing fits, no remote $ref), or leave it out: the scorer "
        "checks finished answers all the same.",
    )


@lru_cache(maxsize=256)
def _check(grammar: str, problem: str, next_step: str) -> None:
    from llguidance import LLMatcher

    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        reason = messages[0].split("\n   1 |")[0]
        lines = [line.strip() for line in reason.splitlines() if line.strip(" ^")]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        message = (errors or lines[:1])[0].split("failed to compile JSON schema: ")[-1]
        message = re.sub(r"^at \d+\(\d+\): ", "", message)
        raise TechniqueError(f"{problem}: {message[:200]}", next_step=next_step)


def literal(text: str) -> str:
    """A text as a pattern that matches it alone."""
    return re.sub(r"([\\.+*?()|\[\]{}^$#&~/-])", r"\\\1", text).replace("\n", r"\n")
