"""What the commands of `fr-reranker train-data` do between reading their arguments and printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from fr_reranker_plugin.cli.evaluate_run import show_bar
from fr_reranker_plugin.cli.printing import note, print_json
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample, check_output, write_examples
from fr_reranker_plugin.training.mmarco import MmarcoCounts, MmarcoRecipe, mmarco_examples
from fr_reranker_plugin.training.mmarco_files import find_mmarco, opened_mmarco

if TYPE_CHECKING:
    from fr_reranker_plugin.retrieval.document_index import SearchMethod

_PAIRS_BETWEEN_MOVES: Final = 256


def draw_mmarco(  # noqa: PLR0913 -- what the command was given
    recipe: MmarcoRecipe,
    given: Mapping[str, Path | None],
    folder: Path | None,
    *,
    out: Path,
    local_files_only: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Find the files, draw the examples and write them."""
    check_output(out, force=force)
    files = find_mmarco(given, folder, local_files_only=local_files_only)
    if files.scores is None:
        note("no scores of a cross-encoder, so --margin cannot be kept: some negatives will be right answers")
    counts = MmarcoCounts()
    with opened_mmarco(files, out.absolute().parent, show_bar) as opened:
        made = mmarco_examples(opened, recipe, counts)
        write(out, made, counts, total=recipe.pairs, force=force, as_json=as_json)


def write(
    out: Path,
    examples: Iterable[TrainingExample],
    counts: ExampleCounts,
    *,
    total: int | None = None,
    force: bool,
    as_json: bool,
) -> None:
    """Write examples while a bar shows how many pairs there are, and say what came of it.

    :param total: How many pairs there will be, if that is known.
    """
    write_examples(out, _shown(examples, total), force=force)
    for reason, count in counts.left_out.items():
        note(f"{reason}: {count:,}")
    if as_json:
        print_json({**counts.to_dict(), "out": str(out)})
    else:
        made = f"{counts.examples:,} with {counts.positives:,} positive and {counts.negatives:,} negative passages"
        print(f"examples in {out}: {made}")


def methods_of(names: str) -> tuple[SearchMethod, ...]:
    """Give the first stages of names with commas; whether they exist, the settings check."""
    return tuple(cast("SearchMethod", name.strip()) for name in names.split(",") if name.strip())


def _shown(examples: Iterable[TrainingExample], total: int | None) -> Iterator[TrainingExample]:
    with show_bar("writing pairs", total) as advance:
        waiting = 0
        for example in examples:
            yield example
            waiting += len(example.passages)
            if waiting >= _PAIRS_BETWEEN_MOVES:
                advance(waiting)
                waiting = 0
        advance(waiting)
