"""From a logit to a probability: temperature and bias, fitted on judged pairs and kept in a small file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any, Final, Self

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT, sigmoid
from fr_reranker_plugin.scoring.settings import check_whole_number

FORMAT: Final = 1
_KIND_OF_FILE: Final = "fr-reranker calibration"
_SHOWN: Final = 60

MAKE_ONE: Final = "make one with `fr-reranker calibrate`"
"""What to do where there is no calibration that can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What a calibration was fitted on, and how wrong scores are without and with it.

    All four errors are of the same pairs. For `..._after`, each pair got its probability from a fit on other queries
    than its own, so they tell of pairs that a fit has not seen.

    :param pairs: Number of judged pairs.
    :param relevant: How many of them are relevant.
    :param queries: Number of distinct queries.
    :param folds: In how many parts the queries were divided.
    :param seed: Of their division.
    :param ece_before: Expected calibration error of `sigmoid(logit)`, 0..1.
    :param ece_after: The same of the calibrated probabilities.
    :param brier_before: Brier score of `sigmoid(logit)`, 0..1.
    :param brier_after: The same of the calibrated probabilities.
    :raises SettingsError: If a value is not of its kind.
    """

    pairs: int
    relevant: int
    queries: int
    folds: int
    seed: int
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float

    def __post_init__(self) -> None:
        for name in ("pairs", "relevant", "queries", "folds"):
            check_whole_number(name, getattr(self, name))
        check_whole_number("seed", self.seed, at_least=0)
        for name in ("ece_before", "ece_after", "brier_before", "brier_after"):
            if not 0 <= _finite(name, getattr(self, name)) <= 1:
                raise SettingsError(f"{name} must be from 0 to 1, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a logit becomes the probability that a passage is relevant: `sigmoid(logit / temperature + bias)`.

    Two numbers fitted on judged pairs (Platt 1999, "Probabilistic outputs for support vector machines"; the temperature
    alone is that of Guo et al. 2017, "On calibration of modern neural networks"). The order of passages never changes,
    because the temperature is above 0.

    :param temperature: Above 0; more than 1 makes scores less sure of themselves.
    :param bias: Added after the division; below 0 makes scores lower.
    :param model: The model whose logits it was fitted on; `None` if that is not known.
    :param fingerprint: Checksum of that model's weights and tokenizer, to tell versions of it apart.
    :param report: What it was fitted on, and what it changed.
    :raises SettingsError: If a value is not allowed.
    """

    temperature: float
    bias: float = 0.0
    model: str | None = None
    fingerprint: str | None = None
    report: CalibrationReport | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", _finite("temperature", self.temperature))
        object.__setattr__(self, "bias", _finite("bias", self.bias))
        if self.temperature <= 0:
            raise SettingsError(f"temperature must be > 0, or the order would change; got {self.temperature}")
        for name in ("model", "fingerprint"):
            if not isinstance(getattr(self, name), str | None):
                raise SettingsError(f"{name} must be a string or None, got {getattr(self, name)!r}")

    def probability(self, logit: float) -> float:
        """Give the probability, 0..1 in float64, that a passage with this logit is relevant; 0.0 if it has no text."""
        return 0.0 if logit <= BLANK_LOGIT else sigmoid(logit / self.temperature + self.bias)

    def probabilities(self, logits: Iterable[float]) -> list[float]:
        """Give the probability of each logit, in order; see `probability`."""
        return [self.probability(logit) for logit in logits]

    def save(self, path: Path | str) -> None:
        """Write the calibration as JSON; the file is there whole or not at all.

        :raises SettingsError: If it cannot be written.
        """
        path = Path(path)
        content = json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with temporary.open("w", encoding="utf-8", errors="surrogatepass") as file:  # a folder may have any name
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise SettingsError(f"the calibration cannot be written to {path}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote.

        :raises SettingsError: If there is no such file, it is malformed, or of something else.
        """
        values = _parsed(path)
        try:
            return cls._from_dict(values)
        except SettingsError as error:
            raise SettingsError(f"{path} is not a calibration that can be used: {error}; {MAKE_ONE}") from None

    def to_dict(self) -> dict[str, Any]:
        """Give the content of the file as plain values."""
        return {"kind_of_file": _KIND_OF_FILE, "format": FORMAT, **asdict(self)}

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Self:
        own = {name: value for name, value in values.items() if name not in ("kind_of_file", "format")}
        _check_names(cls, own)
        report = own.get("report")
        if report is not None:
            _check_names(CalibrationReport, report)
            own["report"] = CalibrationReport(**report)
        return cls(**own)


def _finite(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SettingsError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SettingsError(f"{name} must be a finite number, got {value!r}")
    return number


def _parsed(path: Path | str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise SettingsError(f"there is no calibration file {path}; {MAKE_ONE}") from None
    except OSError as error:
        raise SettingsError(f"the calibration file {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: expected a calibration file (JSON), found {error}; {MAKE_ONE}") from None
    found = values.get("kind_of_file") if isinstance(values, dict) else values
    if not isinstance(values, dict) or found != _KIND_OF_FILE:
        raise SettingsError(
            f"{path}: expected a file with the kind_of_file {_KIND_OF_FILE!r}, found {repr(found)[:_SHOWN]}; {MAKE_ONE}"
        )
    if values.get("format") != FORMAT:
        raise SettingsError(
            f"{path}: expected the format {FORMAT}, found {values.get('format')!r}; update fr-reranker-plugin, or "
            f"{MAKE_ONE}"
        )
    return values


def _check_names(kind: type[Calibration | CalibrationReport], values: object) -> None:
    """Refuse values that are not the fields of `kind`: those of `save`, all of them and no others."""
    expected = {field.name for field in fields(kind)}
    if not isinstance(values, Mapping) or set(values) != expected:
        found = sorted(values) if isinstance(values, Mapping) else type(values).__name__
        raise SettingsError(f"expected the fields {sorted(expected)}, found {found}")
