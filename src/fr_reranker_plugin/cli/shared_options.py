"""Options that a dataclass declares, for commands that have many of them or share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

Command = Callable[..., None]


def with_options_of(group: type[Any]) -> Callable[[Command], Command]:
    """Give a command the options that the fields of `group` declare; it receives them as its first argument.

    :param group: A dataclass whose fields are annotated as typer's options, each with a default.
    """
    hints = get_type_hints(group, include_extras=True)
    names = [field.name for field in fields(group)]
    shared = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]

    def decorate(command: Command) -> Command:
        own = list(signature(command, eval_str=True).parameters.values())[1:]
        parameters = [*(parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own), *shared]

        @wraps(command)
        def with_options(**values: Any) -> None:  # noqa: ANN401 -- typer reads the types from the signature below
            options = group(**{name: values.pop(name) for name in names})
            command(options, **values)

        del with_options.__wrapped__  # typer would read the types of the inner function
        with_options.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what `signature` looks for
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate
