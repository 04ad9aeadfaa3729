"""Encode a corpus into a folder, and go on after an interruption where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.documents import StoredDocument, check_documents
from fr_reranker_plugin.retrieval.encoded_corpus import EncodedCorpus, fingerprint
from fr_reranker_plugin.retrieval.encoding_stream import TEXTS_AT_ONCE, Encoder, in_blocks
from fr_reranker_plugin.retrieval.folder_lock import FolderLock
from fr_reranker_plugin.scoring.settings import check_whole_number

logger = logging.getLogger(__name__)

_LOCK: Final = "writer.lock"
_OTHER_FOLDER: Final = "encode into another folder, or remove this one"


def encode_corpus(
    encoder: Encoder,
    documents: Iterable[StoredDocument],
    folder: Path | str,
    *,
    documents_per_shard: int = TEXTS_AT_ONCE,
    on_progress: Callable[[int], object] | None = None,
) -> EncodedCorpus:
    """Write the passage vectors of a corpus larger than memory, shard by shard; an interrupted run is continued.

    Run it again with the same arguments: documents that are done are read, compared by a fingerprint of their ids and
    texts, and not encoded again. At most one shard of work is lost, whenever the process is killed.

    :param documents: The corpus, in an order that is the same each time.
    :param folder: Where to write; created if need be.
    :param documents_per_shard: Documents that are held in memory and written together.
    :param on_progress: Called after each shard with the number of documents that are done, old and new.
    :raises IndexFolderError: If the folder has vectors of another encoder or of other documents, or is damaged.
        Nothing was changed in it then.
    :raises IndexLockedError: If another process encodes into the folder.
    :raises SettingsError: If a document cannot be stored or a setting is not allowed.
    """
    check_whole_number("documents_per_shard", documents_per_shard)
    path = Path(folder).absolute()
    path.mkdir(parents=True, exist_ok=True)
    with closing(_Writer(path)):
        corpus = _begun(path, encoder, documents_per_shard)
        known, done = len(corpus), 0
        for number, block in enumerate(in_blocks(documents, documents_per_shard)):
            if number < len(corpus.records):
                _check_same(corpus, number, block)
            else:
                _check_goes_on(corpus)
                check_documents(block)
                corpus.append(block, encoder.encode_passages([document.text for document in block]))
            done += len(block)
            if on_progress is not None:
                on_progress(done)
        if done < len(corpus):
            raise IndexFolderError(f"{path} holds {len(corpus)} documents, the corpus {done} now; {_OTHER_FOLDER}")
        if not corpus.is_complete:
            corpus.save(complete=True)
    logger.info("encoded %d documents into %s, %d of them earlier", done, path, known)
    return corpus


class _Writer(FolderLock):
    """The one process that writes to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / _LOCK)

    def close(self) -> None:
        """Let others write."""
        self.release()


def _begun(folder: Path, encoder: Encoder, documents_per_shard: int) -> EncodedCorpus:
    """Give the corpus of the folder, begun now if there is none.

    :raises IndexFolderError: If it was begun otherwise.
    """
    identity = encoder.identity
    if not EncodedCorpus.is_in(folder):
        if any(folder.glob("shard-*.json")):
            raise IndexFolderError(f"{folder} holds shards of a corpus but not what made them; {_OTHER_FOLDER}")
        corpus = EncodedCorpus(folder, identity, documents_per_shard)
        corpus.save(complete=False)
        return corpus
    corpus = EncodedCorpus.open(folder)
    if differences := corpus.encoder.differences(identity):
        raise IndexFolderError(f"{folder} has vectors of another encoder: {'; '.join(differences)}; {_OTHER_FOLDER}")
    if corpus.documents_per_shard != documents_per_shard:
        raise IndexFolderError(
            f"{folder} was begun with documents_per_shard={corpus.documents_per_shard}, not {documents_per_shard}; "
            "continue with the same number"
        )
    return corpus


def _check_same(corpus: EncodedCorpus, number: int, documents: list[StoredDocument]) -> None:
    check_documents(documents)
    if fingerprint(documents) != corpus.records[number].fingerprint:
        first = number * corpus.documents_per_shard
        raise IndexFolderError(
            f"{corpus.folder} has vectors of other documents: ids or texts differ between document {first} "
            f"({documents[0].id!r}) and document {first + len(documents) - 1} ({documents[-1].id!r}); {_OTHER_FOLDER}"
        )


def _check_goes_on(corpus: EncodedCorpus) -> None:
    if corpus.is_complete:
        raise IndexFolderError(
            f"{corpus.folder} is complete with {len(corpus)} documents, and there are more now; {_OTHER_FOLDER}"
        )
