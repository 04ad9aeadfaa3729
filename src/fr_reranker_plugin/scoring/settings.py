"""What can be set about a model and about batching: frozen, and checked when built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

from fr_reranker_plugin.errors import SettingsError

REFERENCE_MODEL: Final = "antoinelouis/crossencoder-me5-base-mmarcoFR"
REFERENCE_REVISION: Final = "2b77fea"
"""The commit of `REFERENCE_MODEL` that is used unless another is asked for (docs/decisions/0006)."""

EMBEDDED: Final = "embedded"
"""The model name that stands for the checkpoint inside this package."""

DType = Literal["auto", "float32", "float16", "bfloat16", "int8"]
Backend = Literal["auto", "torch", "onnx"]
Priority = Literal["interactive", "bulk"]
"""How soon a request matters: someone waits for an interactive one; bulk work fills what is left."""

DEFAULT_BATCH_TOKENS: Final = {"cpu": 1024, "mps": 4096, "cuda": 16384}
"""Token budget of one batch by kind of device: enough to keep it busy, little enough to answer others soon."""

_SHORTEST_USEFUL_LENGTH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Which checkpoint is loaded, and how.

    :param model: A Hub id, a local folder, or `"embedded"`.
    :param revision: Commit, tag or branch on the Hub. `None`: the pinned commit for the reference model, else `main`.
    :param device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`. `None`: the first GPU if there is one, else the CPU. A list
        of devices of one kind, like `["cuda:0", "cuda:1"]`: a copy of the model on each, behind one queue.
    :param dtype: Arithmetic of the forward pass. `"auto"`: float16 on CUDA, float32 elsewhere. `"int8"`: on CPUs only,
        the fastest there; scores move a little, see docs/guides/speed.md.
    :param backend: What runs the model. `"auto"` is torch; `"onnx"` is ONNX Runtime on the CPU (docs/guides/onnx.md).
    :param max_length: Longest pair in tokens, special tokens included; a longer one is cut (`longest_first`).
        `None`: 512, or the model's own limit where that is smaller.
    :param local_files_only: Never ask the Hub; use the local cache.
    :param cache_folder: The Hub cache to use instead of the default one.
    :param token: A Hub token for a private model. Takes no part in comparing settings and is never shown.
    :raises SettingsError: If a value is not allowed.
    """

    model: str = REFERENCE_MODEL
    revision: str | None = None
    device: str | Sequence[str] | None = None
    dtype: DType = "auto"
    backend: Backend = "auto"
    max_length: int | None = None
    local_files_only: bool = False
    cache_folder: str | None = None
    token: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise SettingsError(f"model must be a Hub id, a folder or {EMBEDDED!r}, got {self.model!r}")
        if self.device is not None and not isinstance(self.device, str):
            object.__setattr__(self, "device", _checked_devices(self.device))
        _check_choice("dtype", self.dtype, get_args(DType))
        _check_choice("backend", self.backend, get_args(Backend))
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length, at_least=_SHORTEST_USEFUL_LENGTH)

    @property
    def devices(self) -> tuple[str | None, ...]:
        """The devices that each get a copy of the model; `None` stands for the best one."""
        return (self.device,) if self.device is None or isinstance(self.device, str) else tuple(self.device)

    @property
    def pinned_revision(self) -> str | None:
        """The revision to load: the one given, else the pinned one of the reference model, else `None`."""
        if self.revision is None and self.model == REFERENCE_MODEL:
            return REFERENCE_REVISION
        return self.revision


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How much one batch, one slice of a request and the whole queue may hold. For an encoder, a "pair" is a text.

    :param max_batch_tokens: Tokens computed in one forward pass, padding included where the engine pads: what bounds
        the memory, and the wait of a request that comes while a batch runs. A single longer pair still gets a batch of
        its own. After memory ran out, less is used for a while. `None`: by device, see `DEFAULT_BATCH_TOKENS`.
    :param max_batch_size: Most pairs in one forward pass. `None`: only the token budget decides.
    :param max_slice_pairs: A request with more pairs than this enters the queue in slices, two at a time.
    :param max_waiting_pairs: A request that finds no room among this many waiting pairs is refused with
        `OverloadedError`. Bulk requests do not take the room of interactive ones.
    :raises SettingsError: If a value is not a whole number of at least 1.
    """

    max_batch_tokens: int | None = None
    max_batch_size: int | None = None
    max_slice_pairs: int = 2048
    max_waiting_pairs: int = 65536

    def __post_init__(self) -> None:
        if self.max_batch_tokens is not None:
            check_whole_number("max_batch_tokens", self.max_batch_tokens)
        check_whole_number("max_slice_pairs", self.max_slice_pairs)
        check_whole_number("max_waiting_pairs", self.max_waiting_pairs)
        if self.max_batch_size is not None:
            check_whole_number("max_batch_size", self.max_batch_size)

    def for_device(self, device: str | Sequence[str] | None) -> BatchSettings:
        """Give the same settings with the token budget of `device` where none was chosen; of a list, its first one."""
        if self.max_batch_tokens is not None:
            return self
        first = device if device is None or isinstance(device, str) else device[0]
        kind = (first or "cpu").split(":")[0]
        return replace(self, max_batch_tokens=DEFAULT_BATCH_TOKENS.get(kind, DEFAULT_BATCH_TOKENS["cpu"]))


def check_whole_number(name: str, value: object, *, at_least: int = 1) -> int:
    """Give `value` back if it is an `int` of at least `at_least`; `True` is not a number here.

    :raises SettingsError: Otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    if value < at_least:
        raise SettingsError(f"{name} must be >= {at_least}, but got {value}")
    return value


def check_threshold(value: float | None) -> float | None:
    """Give `value` back if it is `None` or a number that can be compared; infinities are allowed.

    :raises SettingsError: If it is not a number, or is not-a-number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise SettingsError(f"score_threshold must be a number or None, got {value!r}")
    return float(value)


def check_first_stage_weight(value: float) -> float:
    """Give `value` back if it is a number of at least 0 and below 1; at 1 nothing would be left of the reranker.

    :raises SettingsError: Otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise SettingsError(f"first_stage_weight must be a number from 0 to below 1, got {value!r}")
    return float(value)


def chosen_first_stage_weight(given: float | None, model: str) -> float:
    """Give how much the order of the first stage counts: what was given, else half with the embedded model only.

    On average that ranks better after our own first stages (benchmarks/results/first-stages.md); a strong model needs
    no help.

    :param given: `None` where nobody says.
    :param model: The name of the cross-encoder.
    :raises SettingsError: If what was given is not allowed.
    """
    if given is None:
        return 0.5 if model == EMBEDDED else 0.0
    return check_first_stage_weight(given)


def check_calibrated_scale(calibration: object, *, scale_score: bool) -> None:
    """Refuse a calibration where raw logits are asked for: it would have no effect.

    :param calibration: A calibration or the name of its file; `None` if there is none.
    :raises SettingsError: Then.
    """
    if calibration is not None and not scale_score:
        raise SettingsError(
            "a calibration gives scores from 0 to 1, and raw logits were asked for; leave out one of the two"
        )


def check_priority(value: Priority) -> Priority:
    """Give `value` back if it is a priority.

    :raises SettingsError: Otherwise.
    """
    _check_choice("priority", value, get_args(Priority))
    return value


def _checked_devices(devices: object) -> str | tuple[str, ...]:
    if not isinstance(devices, (list, tuple)) or not devices or not all(isinstance(one, str) for one in devices):
        raise SettingsError(f"device must be a name, a list of names or None, got {devices!r}")
    return devices[0] if len(devices) == 1 else tuple(devices)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
