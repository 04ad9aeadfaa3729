"""Where the files of mMARCO-fr are: named one by one, in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from fr_reranker_plugin.collections.opening import read_qrels
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.evaluation.progress import ShowProgress
from fr_reranker_plugin.training.teacher_scores import TeacherScores
from fr_reranker_plugin.training.text_table import TextTable


class Published(NamedTuple):
    """A file of a dataset on the Hub."""

    dataset: str
    name: str


MMARCO: Final = "unicamp-dl/mmarco"
HARD_NEGATIVES: Final = "sentence-transformers/msmarco-hard-negatives"
PUBLISHED: Final[Mapping[str, Published]] = {
    "collection": Published(MMARCO, "data/google/collections/french_collection.tsv"),
    "queries": Published(MMARCO, "data/google/queries/train/french_queries.train.tsv"),
    "hard_negatives": Published(HARD_NEGATIVES, "msmarco-hard-negatives.jsonl.gz"),
    "scores": Published(HARD_NEGATIVES, "cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz"),
}
_JUDGEMENTS: Final = "qrels.train.tsv"
_NONE: Final[frozenset[int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MmarcoFiles:
    """The files that examples are drawn from.

    :param collection: Id and text of each passage, with a tab between; not packed.
    :param queries: The same of each query.
    :param hard_negatives: See `read_hard_negatives`.
    :param scores: What a cross-encoder says, see `ScoresPickle`; `None`: no margin is kept.
    :param qrels: More judgements, of TREC or BEIR: a passage that one of them finds relevant is no negative.
    """

    collection: Path
    queries: Path
    hard_negatives: Path
    scores: Path | None = None
    qrels: Path | None = None


def find_mmarco(
    given: Mapping[str, Path | None], folder: Path | None = None, *, local_files_only: bool = False
) -> MmarcoFiles:
    """Find every file: where it is given, else in the folder, else on the Hub or in its cache.

    In the folder a file lies under its published path or name, packed (`.gz`) or not. Scores belong to the hard
    negatives: they are fetched if these are, and otherwise used if they are given or in the folder. Judgements are
    never fetched.

    :param given: Paths by the names of the fields of `MmarcoFiles`.
    :param local_files_only: Do not ask the Hub.
    :raises CollectionError: If a file is not there or cannot be fetched.
    """
    found = {name: given.get(name) or _in_folder(folder, Path(PUBLISHED[name].name)) for name in PUBLISHED}
    fetch_scores = found["hard_negatives"] is None

    def path(name: str) -> Path:
        there = found[name]
        if there is not None:
            return there
        if folder is not None:
            raise CollectionError(
                f"{folder}: expected {PUBLISHED[name].name} there, under this path or name; found none"
            )
        return _fetched(PUBLISHED[name], local_files_only=local_files_only)

    return MmarcoFiles(
        collection=path("collection"),
        queries=path("queries"),
        hard_negatives=path("hard_negatives"),
        scores=path("scores") if fetch_scores else found["scores"],
        qrels=given.get("qrels") or _in_folder(folder, Path(_JUDGEMENTS)),
    )


@dataclass(frozen=True, slots=True)
class OpenedMmarco:
    """The files, opened so that texts and scores are read when they are needed."""

    files: MmarcoFiles
    passages: TextTable
    queries: TextTable
    scores: TeacherScores | None
    positives: Mapping[str, Mapping[str, int]]

    def scores_of(self, query: int) -> Mapping[int, float] | None:
        """Give the teacher's scores of a query by passage; `None` without a teacher."""
        return None if self.scores is None else self.scores.of(query)

    def judged_positives(self, query: int) -> frozenset[int]:
        """Give what the judgements, if there are some, find relevant to a query."""
        grades = self.positives.get(str(query))
        if grades is None:
            return _NONE
        return frozenset(int(passage) for passage, grade in grades.items() if grade > 0 and passage.isdecimal())


@contextmanager
def opened_mmarco(files: MmarcoFiles, folder: Path, show: ShowProgress) -> Iterator[OpenedMmarco]:
    """Open the files, and close them afterwards.

    :param folder: Where a temporary file for the scores goes.
    :param show: Shows the progress of what is read first.
    :raises CollectionError: If a file is missing or malformed.
    """
    with ExitStack() as opened:
        queries = opened.enter_context(TextTable(files.queries, show))
        passages = opened.enter_context(TextTable(files.collection, show))
        positives = {} if files.qrels is None else read_qrels(files.qrels)
        scores = None
        if files.scores is not None:
            scores = opened.enter_context(TeacherScores(files.scores, folder, show))
        yield OpenedMmarco(files, passages, queries, scores, positives)


def _in_folder(folder: Path | None, name: Path) -> Path | None:
    if folder is None:
        return None
    plain = name.with_suffix("") if name.suffix == ".gz" else name
    packed = plain.with_name(f"{plain.name}.gz")
    places = [folder / form for one in (plain, packed) for form in (one, one.name)]
    return next((place for place in places if place.is_file()), None)


def _fetched(published: Published, *, local_files_only: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        path = hf_hub_download(
            published.dataset, published.name, repo_type="dataset", local_files_only=local_files_only
        )
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise CollectionError(
            f"{published.name} of the dataset {published.dataset!r} is not in the local cache and could not be fetched "
            f"from the Hub ({type(error).__name__}: {reason}); give the file, or a folder that has it"
        ) from error
    return Path(path)
