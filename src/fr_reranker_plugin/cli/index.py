"""`fr-reranker index`: put documents into a folder that can be searched."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fr_reranker_plugin.cli.printing import note, print_facts, print_json
from fr_reranker_plugin.errors import SettingsError

if TYPE_CHECKING:
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex
    from fr_reranker_plugin.retrieval.documents import StoredDocument
    from fr_reranker_plugin.scoring.settings import ModelSettings


class Kind(StrEnum):
    """How vectors are found."""

    FLAT = "flat"
    HNSW = "hnsw"
    IVF = "ivf"
    IVFPQ = "ivfpq"


def index(  # noqa: PLR0913 -- each parameter is an option of the command
    folder: Annotated[Path, typer.Argument(help="The folder of the index; made if it is not there.")],
    sources: Annotated[
        list[str], typer.Argument(help="Files (.jsonl, .json, .md, .txt), folders with such, BEIR folders, or -.")
    ],
    *,
    encoder: Annotated[str, typer.Option(help="'embedded', a folder, or a bi-encoder of the Hub.")] = "embedded",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; default: a GPU if there is one.")
    ] = None,
    kind: Annotated[Kind, typer.Option(help="How vectors are found, of a new index; flat is exact.")] = Kind.FLAT,
    passage_words: Annotated[int, typer.Option(min=10, help="Most words of a passage that a text is cut into.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Put documents into a folder that `fr-reranker search` and the library search by meaning and by words.

    Documents with an id that is there already replace it. Nothing is changed on disk before all were read and encoded.
    """
    from fr_reranker_plugin.cli.documents import read_documents
    from fr_reranker_plugin.scoring.settings import ModelSettings

    model = ModelSettings(model=encoder, device=device)
    documents = read_documents(sources, words=passage_words)
    with opened(folder, model, kind) as target:
        before = len(target)
        written = target.upsert(counted(documents))
        if not written:
            raise SettingsError(f"there is nothing to index in {' '.join(sources)}: every text is blank")
        target.save()
        facts = {"folder": str(folder), "documents": len(target), "new": len(target) - before,
                 "replaced": written - (len(target) - before), "kind": target.dense.settings.kind}  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        print_facts((name, str(value)) for name, value in facts.items())
        note(f"search it with: fr-reranker search {folder} 'votre question'")


def opened(folder: Path, model: ModelSettings, kind: Kind) -> DocumentIndex:
    """Open the index of a folder for writing, or start one."""
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex
    from fr_reranker_plugin.retrieval.index_folder import IndexFolder
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

    silence_libraries()
    encoder = SharedEncoder(model)
    if IndexFolder(folder).holds_index():
        return DocumentIndex.open(folder, encoder)
    return DocumentIndex.create(folder, encoder, kind=kind.value)


def counted(documents: Iterator[StoredDocument]) -> Iterator[StoredDocument]:
    """Yield `documents`, with their number on the terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed} documents"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        count = progress.add_task("indexing", total=None)
        for document in documents:
            yield document
            progress.advance(count)
