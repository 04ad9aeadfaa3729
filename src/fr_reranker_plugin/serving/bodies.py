"""Bodies of requests: read within bounds, then checked in one pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from fr_reranker_plugin.serving.door import door_of
from fr_reranker_plugin.serving.problems import CLIENT_CLOSED, RefusedError

_SHOWN_ERRORS: Final = 3
_READ_ON: Final = 16
"""A body of at most this many times the limit is read to its end: whoever still sends may not look for an answer."""
SCHEMAS: Final = "#/components/schemas/{model}"


class DialectBody(BaseModel):
    """A body in the shape of another server: fields that we have no use for are passed over, as that server does."""

    model_config = ConfigDict(strict=True, extra="ignore")


class OwnBody(BaseModel):
    """A body in a shape of our own: a misspelt field is an error."""

    model_config = ConfigDict(strict=True, extra="forbid")


Body = TypeVar("Body", bound=BaseModel)


def read_as(model: type[Body]) -> Callable[[Request], Coroutine[Any, Any, Body]]:
    """Give the dependency that reads the body of a request as `model`.

    FastAPI's own way parses twice, bounds nothing, and refuses clients that name another content type.
    """

    async def read(request: Request) -> Body:
        settings = door_of(request).settings
        try:
            async with asyncio.timeout(settings.body_timeout):
                content = await _read_body(request, settings.max_body_bytes)
        except TimeoutError:
            sentence = f"the body was not here within {settings.body_timeout:g} s; send it faster, or less of it"
            raise RefusedError("body_too_slow", sentence, closes=True) from None
        except ClientDisconnect:
            raise RefusedError(CLIENT_CLOSED, "the client closed the connection before its request was read") from None
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            raise _refusal_of(error) from None

    return read


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Give what OpenAPI has to say of an endpoint whose body is read with `read_as`."""
    schema = {"$ref": SCHEMAS.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _read_body(request: Request, most: int) -> bytes:
    """Give the whole body; one that is too large is thrown away as it comes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most * _READ_ON:
        raise _too_large(most, closes=True)
    content, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size > most * _READ_ON:
            raise _too_large(most, closes=True)
        if size <= most:
            content += part
    if size > most:
        raise _too_large(most, closes=False)
    return bytes(content)


def _too_large(most: int, *, closes: bool) -> RefusedError:
    sentence = f"the body has more than {most} bytes; send fewer or shorter texts"
    return RefusedError("body_too_large", sentence, closes=closes)


def _refusal_of(error: ValidationError) -> RefusedError:
    """Say what is wrong first, without repeating what came, which may be long."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return RefusedError("invalid_json", f"the body must be JSON in UTF-8: {errors[0]['msg']}")
    shown = [f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in errors[:_SHOWN_ERRORS]]
    return RefusedError("invalid_request", "; ".join(shown))
