"""Ranking every row of a data set, with checkpoints: what `fr-reranker rerank-dataset` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fr_reranker_plugin.bulk.data_set import BadRow, DataSet, Row
from fr_reranker_plugin.bulk.parts import Part, PartFolder, in_parts
from fr_reranker_plugin.bulk.row_scorers import Block, ScoreRows
from fr_reranker_plugin.errors import CollectionError, ScoringError, SettingsError
from fr_reranker_plugin.scoring.calibration import Calibration
from fr_reranker_plugin.scoring.candidates import Candidates
from fr_reranker_plugin.scoring.long_documents import WindowSettings
from fr_reranker_plugin.scoring.ranking import rank_by_score
from fr_reranker_plugin.scoring.scorer import Logits
from fr_reranker_plugin.scoring.settings import check_calibrated_scale, check_threshold, check_whole_number

OnError = Literal["fail", "skip"]
"""What becomes of a row that cannot be ranked: it ends the run, or it is told and left out."""

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSettings:
    """How rows are ranked, and how often they are kept.

    :param top_k: How many passages of each query to keep; `None` keeps all.
    :param score_threshold: Keep scores of at least this much, on the reported scale.
    :param scale_score: Report scores from 0 to 1 rather than logits.
    :param calibration: Gives the scores in place of the sigmoid.
    :param windows: How passages are read that are longer than the model reads; `None` leaves their ends out.
    :param on_error: See `OnError`.
    :param checkpoint_every: Passages of a part: what is lost at most, for each part under way, by a kill.
    :raises SettingsError: If a value is not allowed.
    """

    top_k: int | None = None
    score_threshold: float | None = None
    scale_score: bool = True
    calibration: Calibration | None = None
    windows: WindowSettings | None = None
    on_error: OnError = "fail"
    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        if self.top_k is not None:
            check_whole_number("top_k", self.top_k)
        check_threshold(self.score_threshold)
        check_calibrated_scale(self.calibration, scale_score=self.scale_score)
        check_whole_number("checkpoint_every", self.checkpoint_every)
        if self.on_error not in get_args(OnError):
            raise SettingsError(f"on_error must be 'fail' or 'skip', got {self.on_error!r}")

    def facts(self) -> dict[str, Any]:
        """Give what rankings depend on; `on_error` is not of it, so that a run that failed can go on with `skip`."""
        return {name: value for name, value in asdict(self).items() if name != "on_error"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the rows of a data set.

    :param rows: All of them, those of earlier runs too.
    :param bad: Those that could not be ranked.
    :param parts: Files that hold the rankings.
    :param parts_before: Those that an earlier run had written.
    """

    rows: int
    bad: int
    parts: int
    parts_before: int


def rank_data_set(
    data_set: DataSet,
    folder: Path,
    score: ScoreRows,
    *,
    model: str,
    settings: BulkSettings | None = None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Summary:
    """Rank the passages of every row, and write the rankings into `folder`; the same call goes on where it ended.

    :param folder: Made if there is none. Gets `part-*.jsonl` or `.parquet`, in the form of the data set, and
        `errors-*.jsonl` where rows could not be ranked.
    :param model: What tells the scores of one model from those of another, as `ModelFacts.key` does.
    :param on_progress: Told how many rows have just been kept.
    :raises CollectionError: If the data set cannot be read; with `on_error="fail"`, if a row cannot. What was scored
        before is kept.
    :raises IndexLockedError: If another process writes into the folder.
    :raises ScoringError: With `on_error="fail"`, if the model fails on a row.
    :raises SettingsError: If the folder holds rankings of another data set or model, or by other settings, or
        cannot be written to.
    """
    if folder.resolve() == data_set.path.resolve():
        raise SettingsError(f"{folder} holds the data set; name another folder for the rankings")
    chosen = settings or BulkSettings()
    facts = {"format": _FORMAT, "data set": data_set.fingerprint(), "model": model, **chosen.facts()}
    with closing(PartFolder(folder, data_set.form, facts, best_passages=chosen.windows is not None)) as parts:
        work = _Work(data_set, parts, chosen)
        with closing(score(work.blocks(), chosen.windows)) as scored:
            for part, logits in scored:
                work.keep(part, logits)
                on_progress(len(part.rows) + len(part.bad))
        work.check()
        bad = sum(1 for _ in parts.bad_rows())
    return Summary(work.rows, bad, work.parts, work.parts_before)


class _Work:
    """What is to be done, as far as it was read."""

    def __init__(self, data_set: DataSet, folder: PartFolder, settings: BulkSettings) -> None:
        self.rows = self.parts = self.parts_before = 0
        self._data_set, self._folder, self._settings = data_set, folder, settings
        self._failure: Exception | None = None

    def blocks(self) -> Iterator[Block]:
        """Yield the pairs of the parts that are not done; where a bad row ends the run, those before it."""
        for part in in_parts(self._data_set.rows(), self._settings.checkpoint_every):
            if part.bad and self._settings.on_error == "fail":
                self._failure = CollectionError(f"{part.bad[0].error}; on_error='skip' leaves such rows out")
                return
            self.rows += len(part.rows) + len(part.bad)
            self.parts += 1
            if self._folder.has(part.number):
                self.parts_before += 1
            else:
                yield part, [_candidates(row).pairs for row in part.rows]

    def keep(self, part: Part, logits: Sequence[Logits | ScoringError]) -> None:
        """Write what became of a part."""
        rankings, bad = [], list(part.bad)
        for row, scored in zip(part.rows, logits, strict=True):
            if not isinstance(scored, ScoringError):
                rankings.append(self._ranking(row, scored))
                continue
            sentence = f"{row.file}, row {row.number}: {scored}"
            if self._settings.on_error == "fail":
                raise ScoringError(f"{sentence}; on_error='skip' leaves such rows out") from scored
            bad.append(BadRow(row.file, row.number, sentence))
        self._folder.write(part.number, rankings, bad)

    def check(self) -> None:
        """Raise what ended the run before the end of the data set, now that the rest is kept."""
        if self._failure is not None:
            raise self._failure

    def _ranking(self, row: Row, logits: Logits) -> dict[str, Any]:
        scored = _candidates(row).spread(logits)
        ranking = rank_by_score(
            scored.logits,
            top_k=self._settings.top_k,
            score_threshold=self._settings.score_threshold,
            scale_score=self._settings.scale_score,
            calibration=self._settings.calibration,
        )
        ranked = [
            {
                "rank": rank,
                "index": one.index,
                "id": row.passages[one.index].id,
                "score": one.score,
                "logit": one.logit,
                "truncated": one.index in scored.truncated,
                **scored.found(one.index),
            }
            for rank, one in enumerate(ranking, start=1)
        ]
        return {"file": row.file, "row": row.number, "id": row.id, "query": row.query, "ranking": ranked}


def _candidates(row: Row) -> Candidates:
    return Candidates.from_passages(
        row.query, [passage.text if passage.text.strip() else None for passage in row.passages]
    )
