"""Fitting temperature and bias to judged pairs, and telling how wrong probabilities are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fr_reranker_plugin.errors import ScoringError, SettingsError
from fr_reranker_plugin.scoring.calibration import Calibration, CalibrationReport
from fr_reranker_plugin.scoring.ranking import BLANK_LOGIT
from fr_reranker_plugin.scoring.settings import check_whole_number

FOLDS: Final = 5

_CLOSE_ENOUGH: Final = 1e-12
"""How far the mean negative log-likelihood may be above its minimum before the last step, by Newton's estimate."""

_MOST_STEPS: Final = 100
_SHORTEST_STEP: Final = 1e-10

Numbers = npt.NDArray[np.float64]


class _Line(NamedTuple):
    """`slope * logit + offset`: what the sigmoid is taken of."""

    slope: float
    offset: float


def fit_calibration(
    logits: Sequence[float],
    relevant: Sequence[int],
    *,
    queries: Sequence[str] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Calibration:
    """Find the temperature and bias that make judgements most likely, given the logits of judged pairs.

    The likelihood is that of Platt (1999), with his targets in place of 0 and 1: among `n` relevant pairs
    `(n + 1) / (n + 2)`, among `m` others `1 / (m + 2)`, so that the answer is finite where logits separate the two
    without error. Its negative logarithm is convex in 1 / temperature and bias. Newton's method with halved steps (Lin,
    Lin and Weng 2007) ends within 1e-12 of the minimum, or with an error.

    :param logits: Finite, one for each pair. A passage without text has none; leave it out.
    :param relevant: 1 or 0 (`True` or `False`) for each pair.
    :param queries: The query of each pair. If given, the calibration has a report: its errors "after" come from fits on
        the queries of the other folds, so no pair and no query of it was seen. The calibration itself is of all pairs.
    :param folds: In how many parts the queries are divided.
    :param seed: Of their division.
    :raises SettingsError: If the lengths differ, a value is not allowed, all pairs (or all but those of a fold) are
        relevant or none is, relevant pairs do not have higher logits than others, or the queries are fewer than folds.
    :raises ScoringError: If the fit does not converge.
    """
    check_judgements(relevant, queries, folds=folds)
    check_whole_number("seed", seed, at_least=0)
    scores = _checked_logits(logits, len(relevant))
    labels = np.asarray(relevant, dtype=np.float64)
    calibration = _fitted(scores, labels)
    if queries is None:
        return calibration
    after = np.empty_like(scores)
    for fold in _folds(queries, folds, seed):
        after[fold] = _fitted(scores[~fold], labels[~fold]).probabilities(scores[fold].tolist())
    before = Calibration(temperature=1.0).probabilities(scores.tolist())
    report = CalibrationReport(
        pairs=len(labels),
        relevant=int(labels.sum()),
        queries=len(set(queries)),
        folds=folds,
        seed=seed,
        ece_before=expected_calibration_error(before, relevant),
        ece_after=expected_calibration_error(after.tolist(), relevant),
        brier_before=brier_score(before, relevant),
        brier_after=brier_score(after.tolist(), relevant),
    )
    return Calibration(temperature=calibration.temperature, bias=calibration.bias, report=report)


def check_judgements(relevant: Sequence[int], queries: Sequence[str] | None = None, *, folds: int = FOLDS) -> None:
    """Refuse judgements that nothing can be fitted to; needs no logits, so it can be done before scoring.

    :raises SettingsError: See `fit_calibration`.
    """
    check_whole_number("folds", folds, at_least=2)
    _check_labels(relevant)
    positives = sum(map(int, relevant))
    if positives in (0, len(relevant)):
        raise SettingsError(
            f"expected relevant pairs and others, got {positives} relevant ones of {len(relevant)}; "
            "nothing can be fitted to one kind alone"
        )
    if queries is None:
        return
    if len(queries) != len(relevant):
        raise SettingsError(f"expected a query for each pair, got {len(queries)} for {len(relevant)} pairs")
    if len(set(queries)) < folds:
        raise SettingsError(
            f"{folds} folds need as many queries, got {len(set(queries))}; judge more queries, or take fewer folds"
        )


def expected_calibration_error(probabilities: Sequence[float], relevant: Sequence[int], *, bins: int = 15) -> float:
    """Give how far probabilities are from how often they come true, 0..1: the expected calibration error.

    The mean over bins of |mean probability - share of relevant pairs|, weighted by their pairs (Naeini, Cooper and
    Hauskrecht 2015; Guo et al. 2017). The bins hold about as many pairs each (Nguyen and O'Connor 2015; Roelofs et al.
    2022), rather than having one width: most pairs of a reranker have a score near 0, and would share a bin. Equal
    probabilities are in one bin, so the order of the pairs does not matter.

    :param relevant: 1 or 0 for each probability.
    :param bins: How many at most.
    :raises SettingsError: If there are no pairs, lengths differ, or a value is not allowed.
    """
    check_whole_number("bins", bins)
    values, labels = _checked_probabilities(probabilities, relevant)
    bin_of_pair = np.searchsorted(np.sort(values), values, side="left") * bins // len(values)
    gaps = np.bincount(bin_of_pair, weights=values - labels, minlength=bins)
    return float(np.abs(gaps).sum() / len(values))


def brier_score(probabilities: Sequence[float], relevant: Sequence[int]) -> float:
    """Give the mean squared difference between probabilities and 1 or 0, 0..1 (Brier 1950).

    :param relevant: 1 or 0 for each probability.
    :raises SettingsError: If there are no pairs, lengths differ, or a value is not allowed.
    """
    values, labels = _checked_probabilities(probabilities, relevant)
    return float(np.square(values - labels).mean())


def _fitted(logits: Numbers, labels: Numbers) -> Calibration:
    positives = int(labels.sum())
    others = len(labels) - positives
    if not positives or not others:
        raise SettingsError(
            f"without the queries of one fold, {positives} of {len(labels)} pairs are relevant, and nothing can be "
            "fitted to one kind alone; judge more queries"
        )
    center, spread = float(logits.mean()), float(logits.std())
    if logits.min() == logits.max() or spread == 0:  # one rounds, the other vanishes
        raise SettingsError(f"all logits are {logits[0]}; nothing can be fitted to pairs that score alike")
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (others + 2))
    line = _most_likely((logits - center) / spread, targets)
    if line.slope <= 0:
        raise SettingsError(
            f"relevant pairs do not have higher logits than the others (slope {line.slope / spread:.3g}): no "
            "temperature above 0 makes probabilities of them; check the labels, or take another model"
        )
    return Calibration(temperature=spread / line.slope, bias=line.offset - line.slope * center / spread)


def _most_likely(values: Numbers, targets: Numbers) -> _Line:
    """Minimise the mean cross-entropy of `sigmoid(slope * value + offset)` and `targets` by Newton's method."""
    design = np.stack([values, np.ones_like(values)])
    mean = float(targets.mean())
    at = np.array([0.0, np.log(mean / (1 - mean))])
    for _ in range(_MOST_STEPS):
        probabilities = np.exp(-np.logaddexp(0.0, -at @ design))
        gradient = design @ (probabilities - targets) / len(values)
        curvature = (design * (probabilities * (1 - probabilities))) @ design.T / len(values)
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), -gradient)
        decrease = float(-gradient @ step)
        if decrease / 2 <= _CLOSE_ENOUGH:
            return _Line(*(at + step).tolist())
        at = at + _step_length(at, step, decrease, design, targets) * step
    raise ScoringError(f"the fit of temperature and bias did not converge in {_MOST_STEPS} steps; check the logits")


def _step_length(at: Numbers, step: Numbers, decrease: float, design: Numbers, targets: Numbers) -> float:
    """Halve the step until it lowers the cross-entropy as much as it should."""
    start, length = _cross_entropy(at @ design, targets), 1.0
    while _cross_entropy((at + length * step) @ design, targets) > start - 1e-4 * length * decrease:
        length /= 2
        if length < _SHORTEST_STEP:
            raise ScoringError("the fit of temperature and bias did not converge: no step lowers the error")
    return length


def _cross_entropy(line: Numbers, targets: Numbers) -> float:
    return float((np.logaddexp(0.0, line) - targets * line).mean())


def _folds(queries: Sequence[str], folds: int, seed: int) -> list[npt.NDArray[np.bool_]]:
    """Divide the queries by chance, and give for each part which pairs are of it."""
    distinct = sorted(set(queries))
    random.Random(seed).shuffle(distinct)  # noqa: S311 -- to be repeated, not to be secret
    fold_of_query = {query: place % folds for place, query in enumerate(distinct)}
    fold_of_pair = np.array([fold_of_query[query] for query in queries])
    return [fold_of_pair == fold for fold in range(folds)]


def _checked_logits(logits: Sequence[float], expected: int) -> Numbers:
    values = np.asarray(logits, dtype=np.float64)
    if values.shape != (expected,):
        raise SettingsError(f"expected a logit for each of {expected} judgements, got {values.shape}")
    unusable = np.flatnonzero(~np.isfinite(values) | (values <= BLANK_LOGIT))
    if unusable.size:
        place = int(unusable[0])
        raise SettingsError(
            f"logit {place} must be a finite number of a passage with text, got {values[place]}; leave the pair out"
        )
    return values


def _checked_probabilities(probabilities: Sequence[float], relevant: Sequence[int]) -> tuple[Numbers, Numbers]:
    _check_labels(relevant)
    values = np.asarray(probabilities, dtype=np.float64)
    if values.shape != (len(relevant),):
        raise SettingsError(f"expected a probability for each of {len(relevant)} judgements, got {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise SettingsError("a probability must be from 0 to 1; raw logits are none")
    return values, np.asarray(relevant, dtype=np.float64)


def _check_labels(relevant: Sequence[int]) -> None:
    if len(relevant) == 0:
        raise SettingsError("expected judged pairs, got none")
    for place, label in enumerate(relevant):
        if label not in (0, 1):
            raise SettingsError(f"judgement {place} must be 1 (relevant) or 0, got {label!r}")
