"""`fr-reranker index`: put documents into a folder that can be searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    kind: Annotated[
        Kind | None, typer.Option(help="How vectors are found, of a new index. Default: flat, which is exact.")
    ] = None,
    passage_words: Annotated[int, typer.Option(min=10, help="Most words of a passage that a text is cut into.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Put documents into a folder that `fr-reranker search` and the library search by meaning and by words.

    Documents with an id that is there already replace it, and passages that a text no longer has are removed. An index
    that is there is changed only when all were read and encoded.
    """
    from fr_reranker_plugin.cli.documents import SourceDocuments
    from fr_reranker_plugin.scoring.settings import ModelSettings

    model = ModelSettings(model=encoder, device=device)
    documents = SourceDocuments(sources, words=passage_words, apart_from=folder)
    with opened(folder, model, kind) as target:
        before = len(target)
        written = target.upsert(counted(documents))
        if not written:
            raise SettingsError(f"there is nothing to index in {' '.join(sources)}: every text is blank")
        new = len(target) - before
        removed = target.delete(former_passages(target, documents.passages_of_texts))
        target.save()
        facts = {"folder": str(folder), "documents": len(target), "new": new, "replaced": written - new,
                 "removed": removed, "kind": target.dense.settings.kind}  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        print_facts((name, str(value)) for name, value in facts.items())
        note(f"search it with: fr-reranker search {folder} 'votre question'")


def opened(folder: Path, model: ModelSettings, kind: Kind | None) -> DocumentIndex:
    """Open the index of a folder for writing, or start one where there is none or nothing is in it.

    :param kind: Of the index; `None`: as it is, or flat.
    :raises SettingsError: If the index is of another kind.
    """
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.retrieval.document_index import DocumentIndex
    from fr_reranker_plugin.retrieval.index_folder import IndexFolder
    from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder

    silence_libraries()
    encoder, place = SharedEncoder(model), IndexFolder(folder)
    manifest = place.manifest() if place.holds_index() else None
    if manifest is None or not manifest.documents:
        return DocumentIndex.create(folder, encoder, kind=(kind or Kind.FLAT).value)
    if kind not in (None, manifest.settings.kind):
        raise SettingsError(
            f"{folder} holds a {manifest.settings.kind} index, which does not become {kind}; leave --kind out, or name "
            "another folder"
        )
    return DocumentIndex.open(folder, encoder)


def former_passages(index: DocumentIndex, passages_of_texts: Mapping[str, int]) -> list[str]:
    """Give the ids of passages behind the end of texts, which have become shorter.

    :param passages_of_texts: How many passages each text has now, by its path.
    """
    from fr_reranker_plugin.cli.documents import passage_id

    former = []
    for path, passages in passages_of_texts.items():
        number = passages + 1
        while index.dense.get([passage_id(path, number)]):
            former.append(passage_id(path, number))
            number += 1
    return former


def counted(documents: Iterable[StoredDocument]) -> Iterator[StoredDocument]:
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
