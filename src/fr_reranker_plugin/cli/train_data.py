"""`fr-reranker train-data`: make files of training examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fr_reranker_plugin.scoring.settings import EMBEDDED

train_data = typer.Typer(
    name="train-data",
    help="Make training examples: of mMARCO-fr, of judged collections, of pairs; and add hard negatives to them.",
    no_args_is_help=True,
)

OutOption = Annotated[Path, typer.Option(help="The file to write: .jsonl, or .jsonl.gz to pack it.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of a line.")]

_FILES = "Files"
_WINDOW = "Negatives"


@train_data.command()
def mmarco(  # noqa: PLR0913 -- each parameter is an option of the command
    *,
    out: OutOption,
    folder: Annotated[
        Path | None,
        typer.Option(help="A folder with the published files, instead of the Hub.", rich_help_panel=_FILES),
    ] = None,
    collection: Annotated[
        Path | None, typer.Option(help="Passages: french_collection.tsv.", rich_help_panel=_FILES)
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Questions: french_queries.train.tsv.", rich_help_panel=_FILES)
    ] = None,
    hard_negatives: Annotated[
        Path | None, typer.Option(help="msmarco-hard-negatives.jsonl or .jsonl.gz.", rich_help_panel=_FILES)
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="Scores of a cross-encoder for --margin: the .pkl.gz published beside the negatives.",
                     rich_help_panel=_FILES),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="More judgements; what they find relevant is no negative.",
                                  rich_help_panel=_FILES)
    ] = None,
    local_files_only: Annotated[
        bool, typer.Option("--local-files-only", help="Never ask the Hub.", rich_help_panel=_FILES)
    ] = False,
    examples: Annotated[
        int, typer.Option(min=1, help="How many (query, passage) pairs; the file is gone through again if need be.")
    ] = 2_560_000,
    negatives_per_positive: Annotated[int, typer.Option(min=1, help="The ratio.", rich_help_panel=_WINDOW)] = 1,
    systems: Annotated[
        list[str] | None,
        typer.Option(help="Whose negatives: names of the file with commas, or 'dense' for all but bm25. Default: all.",
                     rich_help_panel=_WINDOW),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, help="How far below the lowest positive a negative's score is at least.",
                            rich_help_panel=_WINDOW)
    ] = 3.0,
    grouped: Annotated[
        bool, typer.Option("--grouped", help="A positive with its negatives in one example, for listwise losses.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 42,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Draw the reference model's training pairs from mMARCO-fr, one positive to one negative.

    Without files or a folder, some 6 GB come from the Hugging Face Hub. The negatives are those that BM25 and twelve
    dense retrievers found; one that a cross-encoder finds nearly as good as a positive is not taken.
    """
    from fr_reranker_plugin.cli.train_data_run import draw_mmarco
    from fr_reranker_plugin.training.mmarco import MmarcoRecipe, systems_of

    recipe = MmarcoRecipe(
        pairs=examples,
        negatives_per_positive=negatives_per_positive,
        systems=systems_of(systems or []),
        margin=margin,
        seed=seed,
        grouped=grouped,
    )
    given = {"collection": collection, "queries": queries, "hard_negatives": hard_negatives, "scores": scores,
             "qrels": qrels}  # fmt: skip
    draw_mmarco(recipe, given, folder, out=out, local_files_only=local_files_only, force=force, as_json=as_json)


@train_data.command()
def beir(
    collection: Annotated[str, typer.Argument(help="'sample', a BEIR folder, or a name of ir_datasets.")],
    *,
    out: OutOption,
    split: Annotated[str, typer.Option(help="Which judgements of a folder: qrels/SPLIT.tsv.")] = "train",
    relevant_from: Annotated[int, typer.Option(min=1, help="The lowest grade that is relevant.")] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an example of each question of a judged collection: what is relevant, and what was judged not to be.

    Most collections judge little that is not relevant: add negatives with `fr-reranker train-data mine`.
    """
    from fr_reranker_plugin.cli.train_data_run import write
    from fr_reranker_plugin.collections import open_collection
    from fr_reranker_plugin.training.example_counts import ExampleCounts
    from fr_reranker_plugin.training.examples import check_output
    from fr_reranker_plugin.training.judged import judged_examples

    check_output(out, force=force)
    counts = ExampleCounts()
    made = judged_examples(open_collection(collection, split), counts, relevant_from=relevant_from)
    write(out, made, counts, force=force, as_json=as_json)


@train_data.command()
def pairs(
    files: Annotated[list[Path], typer.Argument(help="JSON lines, .tsv or .csv with query, passage and label.")],
    *,
    out: OutOption,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make examples of (query, passage) pairs, one for each query.

    A line of JSON is {"query": …, "passage": …, "label": 0 to 1}; tables have these columns in this order, or a first
    line with their names. Without a label a passage is relevant.
    """
    from fr_reranker_plugin.cli.train_data_run import write
    from fr_reranker_plugin.training.example_counts import ExampleCounts
    from fr_reranker_plugin.training.examples import check_output
    from fr_reranker_plugin.training.pair_files import pair_examples

    check_output(out, force=force)
    counts = ExampleCounts()
    write(out, pair_examples(files, counts), counts, force=force, as_json=as_json)


@train_data.command()
def mine(  # noqa: PLR0913 -- each parameter is an option of the command
    files: Annotated[list[Path], typer.Argument(help="Files of examples.")],
    *,
    out: OutOption,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Where to look: what 'fr-reranker index' reads; repeatable. Default: the examples' passages.",
                     rich_help_panel=_WINDOW),
    ] = None,
    passage_words: Annotated[
        int, typer.Option(min=1, help="Longest passage cut out of texts of --corpus.", rich_help_panel=_WINDOW)
    ] = 120,
    index: Annotated[
        Path | None,
        typer.Option(help="A folder of 'fr-reranker index' to look in instead.", rich_help_panel=_WINDOW),
    ] = None,
    first_stage: Annotated[
        str, typer.Option(help="dense, bm25, hybrid, or several with commas, put together.", rich_help_panel=_WINDOW)
    ] = "dense",
    rank_from: Annotated[int, typer.Option(min=1, help="First rank of the window.", rich_help_panel=_WINDOW)] = 5,
    rank_to: Annotated[int, typer.Option(min=1, help="Its last rank.", rich_help_panel=_WINDOW)] = 50,
    negatives: Annotated[
        int, typer.Option(min=0, help="How many to add to an example, drawn from the window.", rich_help_panel=_WINDOW)
    ] = 4,
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="How far below the lowest positive a negative's score is at least: in logits of the "
                                 "teacher, else in cosines. Default: scores do not matter.", rich_help_panel=_WINDOW),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="A cross-encoder, whose logits are written beside all passages, for distillation: "
                          "'embedded', a folder or a Hub model."),
    ] = None,
    encoder: Annotated[str, typer.Option(help="The bi-encoder: 'embedded', a folder, or a Hub model.")] = EMBEDDED,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; default: a GPU if there is one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 42,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Add hard negatives to examples: passages that the first stage finds for a question and that are no answers.

    What equals or contains a known positive of the question, or is mostly a piece of one, is never taken. Answers that
    nobody marked may be: start the window below the first ranks, and keep a margin.
    """
    from fr_reranker_plugin.cli.mine_run import MiningRequest, run_mining
    from fr_reranker_plugin.cli.train_data_run import methods_of
    from fr_reranker_plugin.training.mining import MiningSettings

    settings = MiningSettings(
        methods=methods_of(first_stage),
        rank_from=rank_from,
        rank_to=rank_to,
        negatives=negatives,
        margin=margin,
        seed=seed,
    )
    request = MiningRequest(
        files=files,
        settings=settings,
        corpus=corpus or [],
        passage_words=passage_words,
        index=index,
        encoder=encoder,
        teacher=teacher,
        device=device,
    )
    run_mining(request, out, force=force, as_json=as_json)
