"""Errors in the form of the OpenAI API: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from luthier.errors import BackendError, CapabilityError, LuthierError, UserError

INVALID = "invalid_request_error"


class ApiError(HTTPException):
    """An error that is sent to the client. FastAPI lets an HTTPException through everywhere.

    **Fields**

    - `status`: the HTTP status code.
    - `message`: what was wrong and what to do, in a sentence.
    - `kind`, `param`, `code`: the `type`, `param` and `code` of the error object.
    - `headers`: more headers of the reply.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code = param, code

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def unknown_model(name: str) -> ApiError:
    """The error for a model that is not served."""
    return ApiError(
        404, f"The model {name!r} does not exist; GET /v1/models lists those that do.",
        param="model", code="model_not_found",
    )  # fmt: skip


def as_api_error(error: LuthierError) -> ApiError:
    """An error of Luthier as one of the API: what the user can correct is 400, a server that a base
    is asked through 502, all else 500."""
    words = " ".join(part for part in (error.problem, error.next_step) if part)
    if isinstance(error, CapabilityError):
        return ApiError(400, words, code="unsupported")
    if isinstance(error, UserError):
        return ApiError(400, words)
    if isinstance(error, BackendError):
        return ApiError(502, words, kind="server_error", code="backend_failed")
    return ApiError(500, words, kind="server_error")
