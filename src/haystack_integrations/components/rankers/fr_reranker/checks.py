"""Checks of parameters and arguments, those of other rankers included: what is meant, or why it cannot be."""

from collections.abc import Mapping
from typing import Any, Final, cast, get_args

from haystack import Document
from haystack.utils import ComponentDevice, Secret

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import DType, Priority

_OWN_PARAMETER: Final = {
    "cache_dir": "cache_folder",
    "device_map": "device",
    "local_files_only": "local_files_only",
    "max_length": "max_length",
    "revision": "revision",
    "token": "token",
}
"""Options of transformers that are parameters of the ranker itself."""


def checked_device(device: object) -> ComponentDevice | list[str] | None:
    """Give one device in Haystack's form, and several as a list of their names.

    `None` stays `None`, so that a saved pipeline runs on another machine.

    :raises SettingsError: If it is something else, such as a device map.
    """
    if isinstance(device, (list, tuple)):
        return [one.to_torch_str() for one in map(_one_device, device)]
    return None if device is None else _one_device(device)


def device_names(device: ComponentDevice | list[str] | None) -> str | list[str] | None:
    """Give the device or devices as the core names them."""
    return device.to_torch_str() if isinstance(device, ComponentDevice) else device


def _one_device(device: object) -> ComponentDevice:
    try:
        chosen = ComponentDevice.from_str(device) if isinstance(device, str) else device
        if isinstance(chosen, ComponentDevice):
            chosen.to_torch_str()
    except ValueError as error:
        raise SettingsError(f"device must be one device like 'cuda:0' or 'cpu', got {device!r}: {error}") from None
    if not isinstance(chosen, ComponentDevice):
        raise SettingsError(
            f"device must be a ComponentDevice, a string, a list of such or None, got {type(device).__name__}"
        )
    return chosen


def checked_secret(name: str, secret: object, *, variable: str) -> Secret | None:
    """Give a token or key back if it is a `Secret` or `None`.

    :param variable: The environment variable to name as an example.

    :raises TypeError: Otherwise: a plain string would be written into saved pipelines. The message does not show it.
    """
    if secret is not None and not isinstance(secret, Secret):
        raise TypeError(
            f"{name} must be a Secret, such as Secret.from_env_var({variable!r}), or None; got {type(secret).__name__}"
        )
    return secret


def dtype_of(dtype: str, model_kwargs: Mapping[str, Any] | None) -> DType:
    """Give the dtype that the parameter or `model_kwargs` asks for; `"auto"` if neither does.

    :raises SettingsError: If they disagree, or `model_kwargs` holds anything else.
    """
    given = _understood("model_kwargs", model_kwargs, ("dtype", "torch_dtype"))
    names = [dtype, *(dtype_name(value) for value in given.values() if value is not None)]
    wanted = sorted({name for name in names if name != "auto"})
    if len(wanted) > 1:
        raise SettingsError(f"dtype={dtype!r} and model_kwargs={dict(given)!r} disagree; give dtype only")
    return cast("DType", wanted[0] if wanted else "auto")


def dtype_name(value: object) -> str:
    """Give the name of a dtype: `"float16"` for `"float16"`, `"torch.float16"` and torch's own."""
    return str(value).removeprefix("torch.")


def max_length_of(max_length: int | None, tokenizer_kwargs: Mapping[str, Any] | None) -> int | None:
    """Give the pair length that the parameter or `tokenizer_kwargs` asks for; `None` if neither does.

    :raises SettingsError: If they disagree, or `tokenizer_kwargs` holds anything else.
    """
    given = _understood("tokenizer_kwargs", tokenizer_kwargs, ("model_max_length",)).get("model_max_length")
    if max_length is not None and given is not None and max_length != given:
        raise SettingsError(f"max_length={max_length} and tokenizer_kwargs disagree; give max_length only")
    return cast("int | None", given if max_length is None else max_length)


def refuse_unsupported(trust_remote_code: object, config_kwargs: object) -> None:
    """Refuse what other rankers offer and this one does not.

    :raises SettingsError: With the reason and what to do.
    """
    if trust_remote_code is not False:
        raise SettingsError(
            "trust_remote_code must be False: the supported families are part of transformers, "
            "and code that a checkpoint brings along is never run"
        )
    if config_kwargs is not None and config_kwargs != {}:
        raise SettingsError(
            f"config_kwargs must be None or empty, got {config_kwargs!r}: the configuration of the checkpoint is used "
            "as it is; save it with the values you need"
        )


def checked_documents(documents: object) -> list[Document]:
    """Give the documents back as a list of their own.

    :raises SettingsError: If it is not a list of documents; the message names the first that is none.
    """
    if not isinstance(documents, (list, tuple)):
        raise SettingsError(f"documents must be a list of Document, got {type(documents).__name__}")
    for position, document in enumerate(documents):
        if not isinstance(document, Document):
            raise SettingsError(f"documents[{position}] must be a Document, got {type(document).__name__}")
    return list(documents)


def savable(value: object) -> object:
    """Give a parameter as plain values of its own, torch's dtypes by their names; a `Secret` or device as it is."""
    if isinstance(value, Mapping):
        return {key: savable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return list(value)
    return str(value) if type(value).__module__ == "torch" else value


def check_flag(name: str, value: object) -> None:
    """Accept `True` and `False` only.

    :raises SettingsError: Otherwise.
    """
    if not isinstance(value, bool):
        raise SettingsError(f"{name} must be True or False, got {value!r} ({type(value).__name__})")


def check_text(name: str, value: object, *, optional: bool = False) -> None:
    """Accept strings only, and `None` where it is `optional`.

    :raises SettingsError: Otherwise.
    """
    if not isinstance(value, str) and not (optional and value is None):
        raise SettingsError(f"{name} must be a string{' or None' if optional else ''}, got {value!r}")


def field_names(given: object) -> list[str]:
    """Give the metadata fields as a list of their own; `None` is no field.

    :raises SettingsError: If it is not a list of strings. One string alone is not: its letters would be the fields.
    """
    if given is None:
        return []
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise SettingsError(f"meta_fields_to_embed must be a list of strings, such as ['title'], got {given!r}")
    return list(given)


def check_priority(value: object) -> None:
    """Accept the two priorities only.

    :raises SettingsError: Otherwise.
    """
    if value not in get_args(Priority):
        raise SettingsError(f"priority must be 'interactive' or 'bulk', got {value!r}")


def check_timeout(value: object) -> None:
    """Accept a positive number of seconds, or `None`.

    :raises SettingsError: Otherwise.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise SettingsError(f"timeout must be a number of seconds > 0, or None, but got {value!r}")


def _understood(name: str, given: Mapping[str, Any] | None, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SettingsError(f"{name} must be a dictionary or None, got {type(given).__name__}")
    for key in given:
        if key not in keys:
            own = _OWN_PARAMETER.get(key)
            advice = f"use the parameter {own} of the ranker" if own else "remove it"
            raise SettingsError(f"{name}[{key!r}] is not supported here, only {', '.join(keys)}; {advice}")
    return given
