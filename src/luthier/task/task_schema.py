"""The JSON schema of a task: read, checked, and compared with the targets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import TaskError
from luthier.records import Example
from luthier.safety.timed_schema import SchemaTimeoutError, TimedValidator
from luthier.task.task_file import read_text

# Targets checked against a schema; validation is slow, and a wrong schema shows in the first rows.
MOST_VALIDATED = 1000


def checked_schema(
    source: Mapping[str, Any] | str | None, examples: Sequence[Example]
) -> dict[str, Any] | None:
    """A valid JSON schema that the targets follow, from a mapping or the path of a file.

    TaskError where the schema is not valid or a target does not follow it.
    """
    if source is None:
        return None
    import jsonschema

    schema: Any = source
    if isinstance(schema, str):
        text = read_text(Path(schema))
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TaskError(
                f"{source}: not JSON: {error}", next_step="Mend the schema file."
            ) from error
    if not isinstance(schema, Mapping):
        raise TaskError(
            "the schema is not a JSON object", next_step='Write {"type": "object", ...}'
        )
    schema = dict(schema)
    try:
        json.dumps(schema)
        validator = TimedValidator(schema)
        for e in examples[:MOST_VALIDATED]:
            validator.validate(json.loads(e.target))
    except json.JSONDecodeError as error:
        raise TaskError(
            f"example {e.id}: its target is not JSON: {e.target[:60]!r}",
            next_step="With a schema every target must be JSON; or leave the schema out.",
        ) from error
    except SchemaTimeoutError as error:
        raise TaskError(
            f"the schema takes too long: {error}",
            next_step="Nested repetitions in a `pattern`, or definitions that refer to each other "
            "again and again, take for ever: write it without.",
        ) from error
    except jsonschema.ValidationError as error:
        raise TaskError(
            f"example {e.id}: its target does not follow the schema: {error.message[:160]}",
            next_step="Mend the rows or the schema.",
        ) from error
    # A wrong schema, a pattern that is no regular expression, a reference that leads nowhere.
    except Exception as error:
        raise TaskError(
            f"the schema is not a valid JSON schema: {str(error).splitlines()[0][:160]}",
            next_step="See json-schema.org/understanding-json-schema.",
        ) from error
    checked: dict[str, Any] = schema
    return checked
