"""What `fr-reranker train-data mine` does between reading its arguments and printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from fr_reranker_plugin.cli.documents import SourceDocuments
from fr_reranker_plugin.cli.evaluate_run import show_bar
from fr_reranker_plugin.cli.scoring import silence_libraries
from fr_reranker_plugin.cli.train_data_run import write
from fr_reranker_plugin.collections.lines import check_file
from fr_reranker_plugin.errors import SettingsError
from fr_reranker_plugin.retrieval.document_index import DocumentIndex
from fr_reranker_plugin.retrieval.documents import StoredDocument
from fr_reranker_plugin.retrieval.encoding_stream import in_blocks
from fr_reranker_plugin.retrieval.shared_encoder import SharedEncoder
from fr_reranker_plugin.scoring.settings import ModelSettings
from fr_reranker_plugin.scoring.shared import SharedScorer
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import check_output, read_examples
from fr_reranker_plugin.training.mining import MinedQueries, Miner, MiningSettings
from fr_reranker_plugin.training.mining_corpus import Corpus, Judge, WordIndex, cosines, logits

_ENCODED_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningRequest:
    """What was asked for on the command line; see the options of `mine`.

    :raises SettingsError: If options exclude each other.
    """

    files: Sequence[Path]
    settings: MiningSettings
    corpus: Sequence[str]
    passage_words: int
    index: Path | None
    encoder: str
    teacher: str | None
    device: str | None

    def __post_init__(self) -> None:
        if self.corpus and self.index is not None:
            raise SettingsError("name --corpus or --index, not both: an index has its documents in it")
        if not self.settings.negatives and self.teacher is None:
            raise SettingsError("--negatives 0 adds nothing, unless a --teacher adds its scores")
        if self.settings.margin is not None and self.teacher is None and self.needs_words_only:
            raise SettingsError("--margin needs scores: name a --teacher, or search by meaning (--first-stage dense)")

    @property
    def needs_words_only(self) -> bool:
        """Whether no vector is needed to search."""
        return self.index is None and set(self.settings.methods) == {"bm25"}


def run_mining(request: MiningRequest, out: Path, *, force: bool, as_json: bool) -> None:
    """Read the examples, search, and write them with their negatives.

    :raises CollectionError: If an input is malformed, or no file: examples are read twice.
    """
    check_output(out, force=force)
    for path in request.files:
        check_file(path)
    queries = MinedQueries.of(read_examples(request.files))
    silence_libraries()
    counts = ExampleCounts()
    with ExitStack() as opened:
        corpus = _corpus(request, queries, opened) if request.settings.negatives else None
        judge = _judge(request, corpus, opened)
        miner = Miner(request.settings, queries, corpus, judge=judge, keeps_scores=request.teacher is not None)
        write(out, miner.mined(read_examples(request.files), counts), counts, force=force, as_json=as_json)


def _corpus(request: MiningRequest, queries: MinedQueries, opened: ExitStack) -> Corpus:
    if request.index is not None:
        return opened.enter_context(DocumentIndex.open(request.index, read_only=True, device=request.device))
    of_files = SourceDocuments(request.corpus, words=request.passage_words) if request.corpus else None
    documents = _some(queries.documents() if of_files is None else of_files)
    if request.needs_words_only:
        return WordIndex(documents)
    encoder = opened.enter_context(closing(SharedEncoder(ModelSettings(model=request.encoder, device=request.device))))
    index = opened.enter_context(DocumentIndex.create(None, encoder))
    with show_bar("encoding passages", None) as advance:
        for some in in_blocks(documents, _ENCODED_AT_ONCE):
            advance(index.add(some))
    return index


def _judge(request: MiningRequest, corpus: Corpus | None, opened: ExitStack) -> Judge | None:
    if request.teacher is not None:
        settings = ModelSettings(model=request.teacher, device=request.device)
        return logits(opened.enter_context(closing(SharedScorer(settings))))
    return cosines(corpus) if isinstance(corpus, DocumentIndex) else None


def _some(documents: Iterable[StoredDocument]) -> Iterator[StoredDocument]:
    """Refuse a corpus without documents."""
    rest = iter(documents)
    first = next(rest, None)
    if first is None:
        raise SettingsError("expected passages to look for negatives in, got none")
    return chain([first], rest)
