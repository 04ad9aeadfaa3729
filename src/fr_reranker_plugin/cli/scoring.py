"""Loading the models of a command and running them, with a progress bar where it takes long."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from fr_reranker_plugin.cli.model_options import ModelOptions
from fr_reranker_plugin.scoring.candidates import Candidates, Scored
from fr_reranker_plugin.scoring.scorer import Logits, Pair, Scorer, as_logits

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.shared import SharedScorer

_AT_A_TIME: Final = 64
"""Texts or pairs between two moves of the progress bar: several batches, a few seconds on a slow CPU."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@contextmanager
def opened_scorer(options: ModelOptions) -> Iterator[SharedScorer]:
    """Load the cross-encoder that was chosen, and let go of it afterwards.

    :raises ModelLoadError: If it cannot be loaded.
    """
    from fr_reranker_plugin.scoring.shared import SharedScorer

    silence_libraries()
    with closing(SharedScorer(options.model_settings(), options.batch_settings())) as scorer:
        scorer.warm_up()
        yield scorer


def silence_libraries() -> None:
    """Hide the progress bars and notes of transformers; a download from the Hub still shows its own on a terminal."""
    from huggingface_hub.utils import enable_progress_bars  # type: ignore[attr-defined]  # documented, not listed
    from transformers.utils.logging import disable_progress_bar

    logging.getLogger("transformers").setLevel(logging.ERROR)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers gives it no types
    if sys.stderr.isatty():
        enable_progress_bars()


def score_candidates(scorer: Scorer, groups: Sequence[Candidates], *, label: str = "scoring") -> list[Scored]:
    """Score the passages of several queries together."""
    logits = score_pairs(scorer, [pair for group in groups for pair in group.pairs], label=label)
    parts = logits.parts(len(group.pairs) for group in groups)
    return [group.spread(part) for group, part in zip(groups, parts, strict=True)]


def score_pairs(scorer: Scorer, pairs: Sequence[Pair], *, label: str = "scoring") -> Logits:
    """Score `pairs`; the positions of those that were cut come along, and the best windows where there are some."""
    answers = list(in_parts(scorer.score, pairs, label=label)) or [scorer.score([])]
    parts = [as_logits(answer) for answer in answers]
    return type(parts[0]).joined(parts)


def in_parts(call: Callable[[Sequence[Item]], Answer], items: Sequence[Item], *, label: str) -> Iterator[Answer]:
    """Yield `call` of one part of `items` after the other, moving a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = not console.is_terminal or len(items) <= _AT_A_TIME
    with Progress(console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task(label, total=len(items))
        for start in range(0, len(items), _AT_A_TIME):
            part = items[start : start + _AT_A_TIME]
            yield call(part)
            progress.advance(bar, len(part))
