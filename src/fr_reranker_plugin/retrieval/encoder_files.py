"""What the small files of a bi-encoder's folder say: pooling, longest text, prefixes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from fr_reranker_plugin.errors import ModelLoadError
from fr_reranker_plugin.scoring.fingerprint import MODEL_FILES, fingerprint

Pooling = Literal["mean", "cls"]

_DECISIVE: Final = (*MODEL_FILES, "1_Pooling/config.json")
_TEXT_SETTINGS: Final = "sentence_bert_config.json"
_OLD_POOLING_FLAG: Final = re.compile(r"pooling_mode_(\w+?)(?:_tokens?)?$")
_E5_NAME: Final = re.compile(r"(?:^|[^a-z0-9])m?e5(?:$|[^a-z0-9])")
_KNOWN_MODULES: Final = ("Transformer", "Pooling", "Normalize")
_QUERY_PROMPTS: Final = ("query",)
_PASSAGE_PROMPTS: Final = ("document", "passage", "corpus")  # in the order of sentence-transformers


class Prefixes(NamedTuple):
    """What a model wants to read before a query and before a passage."""

    query: str
    passage: str

    def replaced_by(self, query: str | None, passage: str | None) -> Self:
        """Give the prefixes with those that are not `None` in their place."""
        return type(self)(self.query if query is None else query, self.passage if passage is None else passage)


E5_PREFIXES: Final = Prefixes("query: ", "passage: ")


class EncoderFiles:
    """The files that sentence-transformers writes beside a model; every one of them may be absent.

    :param folder: The checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pooling(self) -> Pooling:
        """Tell how token vectors become the vector of the text: the mean over them unless the folder says otherwise.

        :raises ModelLoadError: If the model has steps that are not implemented here; leaving one out would give other
            vectors than the model's own.
        """
        self._check_modules()
        settings = self._read("1_Pooling/config.json")
        mode = _pooling_mode(settings)
        if mode not in ("mean", "cls"):
            raise ModelLoadError(f"{self.folder}: expected mean or cls pooling, found {mode!r}")
        if not settings.get("include_prompt", True):
            raise ModelLoadError(f"{self.folder}: pooling that leaves out the prompt is not supported")
        return "cls" if mode == "cls" else "mean"

    def fingerprint(self) -> str:
        """Give a checksum of what vectors depend on: the weights, the tokenizer, the pooling and lower case."""
        return fingerprint(self.folder, _DECISIVE) + ("-lower-case" if self.lower_case() else "")

    def lower_case(self) -> bool:
        """Tell whether texts are read in lower case, whatever the tokenizer itself does."""
        return self._read(_TEXT_SETTINGS).get("do_lower_case") is True

    def max_length(self) -> int | None:
        """Give the longest text in tokens that the model is meant for, or `None` if the folder does not say."""
        length = self._read(_TEXT_SETTINGS).get("max_seq_length")
        return length if isinstance(length, int) else None

    def prefixes(self, model: str) -> Prefixes:
        """Give the folder's own prompts, or those of E5 if the model's name says so and the folder says nothing.

        An instruction-tuned E5 wants a task description that only its user knows, and gets no prefix.

        :param model: Name of the model on the Hub, or the full path of its folder.
        """
        prompts = self._read("config_sentence_transformers.json").get("prompts") or {}
        own = Prefixes(_first(prompts, _QUERY_PROMPTS), _first(prompts, _PASSAGE_PROMPTS))
        if any(own):
            return own
        name = model.lower()
        return E5_PREFIXES if _E5_NAME.search(name) and "instruct" not in name else own

    def _check_modules(self) -> None:
        path = self.folder / "modules.json"
        for module in _read_json(path) if path.is_file() else []:
            kind = str(module.get("type", "")).rpartition(".")[2]
            if kind not in _KNOWN_MODULES:
                raise ModelLoadError(
                    f"{path}: expected the modules {', '.join(_KNOWN_MODULES)}, found {kind!r}, which is not supported"
                )

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        settings = _read_json(path) if path.is_file() else {}
        if not isinstance(settings, dict):
            raise ModelLoadError(f"{path}: expected a JSON object, found {type(settings).__name__}")
        return settings


def _pooling_mode(settings: Mapping[str, Any]) -> str:
    """Read the pooling as sentence-transformers 6 writes it (`pooling_mode`), or as older ones do (one flag a mode)."""
    if "pooling_mode" in settings:
        mode = settings["pooling_mode"]
        return " and ".join(map(str, mode)) if isinstance(mode, list) else str(mode)
    flags = [(_OLD_POOLING_FLAG.match(name), value) for name, value in settings.items()]
    return " and ".join(match[1] for match, chosen in flags if match and chosen) or "mean"


def _first(prompts: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(prompts[name]) for name in names if prompts.get(name)), "")


def _read_json(path: Path) -> Any:  # noqa: ANN401 -- the callers check what they need
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelLoadError(f"{path} is not JSON: {error}") from error
