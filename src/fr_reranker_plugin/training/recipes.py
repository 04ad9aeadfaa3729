"""Recipes: every value that decides what a training run learns, under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.scoring.settings import EMBEDDED, check_whole_number

LossName = Literal["bce", "listnet", "lambda", "mse", "kl"]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["auto", "float32", "bf16", "fp16"]

_SHORTEST_USEFUL_LENGTH: Final = 16
_HIGHEST_SEED: Final = 2**32 - 1
"""Of NumPy's generator, which the trainer seeds as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a cross-encoder is trained; equal recipes on equal data give equal weights on a CPU in float32.

    :param model: What to start from: `"embedded"`, a folder or a Hub id; a cross-encoder with one label, or an encoder
        that gets a new head.
    :param revision: Commit, tag or branch on the Hub.
    :param loss: What is minimised, see `LOSS_KINDS`.
    :param max_length: Longest pair in tokens while training.
    :param batch_size: Rows of one step, over all devices and accumulated parts: pairs with `bce` and `mse`, questions
        with all their passages with the other losses.
    :param accumulation: Parts that a batch is computed in, one after the other; more need less memory.
    :param epochs: Passes over the data, unless `steps` says when to end.
    :param steps: Steps of the optimiser; `None`: as many as `epochs` have.
    :param learning_rate: The highest rate of AdamW.
    :param schedule: What follows the warm-up: the rate stays, or falls to 0 at the last step.
    :param warm_up: Share of the steps over which the rate rises from 0, 0..1.
    :param weight_decay: Of all weights but biases and layer norms.
    :param clip: Longest gradient; 0 does not clip.
    :param precision: Arithmetic of the forward pass; weights are always kept in float32. `"auto"`: bf16 on a GPU that
        has it, fp16 on another one, float32 on a CPU.
    :param gradient_checkpointing: Compute activations twice instead of keeping them.
    :param seed: Of the order of the data, dropout and a new head.
    :param eval_every: Steps from one dev evaluation and checkpoint to the next; `None`: a tenth of all, as near as
        `log_every` allows.
    :param patience: Stop after so many dev evaluations without a new best; `None`: never.
    :param log_every: Steps from one point of the loss curve to the next; divides `eval_every`. `None`: a tenth of it.
    :param stuck_after: Stop if for so many steps the loss tells no more than knowing nothing would.
    :raises SettingsError: If a value is not allowed.
    """

    model: str
    revision: str | None = None
    loss: LossName = "bce"
    max_length: int = 256
    batch_size: int = 32
    accumulation: int = 1
    epochs: float = 1.0
    steps: int | None = None
    learning_rate: float = 2e-5
    schedule: Schedule = "linear"
    warm_up: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    seed: int = 42
    eval_every: int | None = None
    patience: int | None = None
    log_every: int | None = None
    stuck_after: int = 500

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, get_args(LossName))
        _check_choice("schedule", self.schedule, get_args(Schedule))
        _check_choice("precision", self.precision, get_args(Precision))
        check_whole_number("max_length", self.max_length, at_least=_SHORTEST_USEFUL_LENGTH)
        check_whole_number("seed", self.seed, at_least=0)
        if self.seed > _HIGHEST_SEED:
            raise SettingsError(f"seed must be <= {_HIGHEST_SEED}, got {self.seed}")
        for name in ("batch_size", "accumulation", "stuck_after"):
            check_whole_number(name, getattr(self, name))
        for name in ("steps", "eval_every", "patience", "log_every"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name))
        _check_range("learning_rate", self.learning_rate, above=0)
        _check_range("epochs", self.epochs, above=0)
        for name in ("warm_up", "weight_decay", "clip"):
            _check_range(name, getattr(self, name), at_least=0)
        if self.warm_up > 1:
            raise SettingsError(f"warm_up is a share of the steps and must be <= 1, got {self.warm_up}")
        if self.eval_every and self.log_every and self.eval_every % self.log_every:
            raise SettingsError(f"log_every must divide eval_every ({self.eval_every}), got {self.log_every}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_range(name: str, value: object, *, above: float | None = None, at_least: float | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
        raise SettingsError(f"{name} must be a number, got {value!r}")
    if above is not None and value <= above:
        raise SettingsError(f"{name} must be > {above}, got {value}")
    if at_least is not None and value < at_least:
        raise SettingsError(f"{name} must be >= {at_least}, got {value}")


RECIPES: Final[Mapping[str, Recipe]] = {
    "me5-base-mmarcofr": Recipe(
        model="intfloat/multilingual-e5-base",
        loss="bce",
        max_length=256,
        batch_size=128,
        steps=20_000,
        learning_rate=2e-5,
        schedule="constant",
        warm_up=0.0,
        weight_decay=0.01,
        clip=1.0,
        precision="bf16",
        seed=42,
        eval_every=1000,
    ),
    "small": Recipe(
        model=EMBEDDED,
        loss="lambda",
        max_length=256,
        batch_size=16,
        accumulation=4,
        epochs=2,
        learning_rate=1e-5,
        schedule="linear",
        warm_up=0.1,
        patience=3,
    ),
}
"""`me5-base-mmarcofr`: what the card of antoinelouis/crossencoder-me5-base-mmarcoFR says, and where the card is silent
(decay, clipping, seed) the published script of its author.

`small`: some hundred to some ten thousand questions of one's own, from a cross-encoder that ranks well already. A low
rate that warms up and falls, because a narrow set makes a model forget other domains; early stopping for the same
reason. The listwise loss compares the passages of one question only. Its gradient leaves the mean of their logits
alone, so scores from 0 to 1 keep their level whatever the share of negatives, and it asks for no fixed margin."""


def find_recipe(name: str) -> Recipe:
    """Give a recipe by its name.

    :raises SettingsError: If there is none.
    """
    if name not in RECIPES:
        raise SettingsError(f"there is no recipe {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
