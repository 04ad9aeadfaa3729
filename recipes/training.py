"""Teaching the cross-encoder: the first stage's scores and the labels in one loss."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from candidates import TrainingSet
from student import Student
from texts import Ids

# The teacher's score of a middling match: the student's logit 0, so that the sigmoid means something.
MIDDLE = 45.5
LOWEST, HIGHEST = -12.0, 8.0
QUERY_TOKENS = 32
HARD, NEAR, FAR = 13, 40, 64
STEPS_DRAWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train, and how.

    The rate rises over `warm_up` steps, stays, and falls to nothing over the last `decay` of the steps. Texts are
    short (`short`: software documentation, `long`: the rest) until the rate falls, and longer from then on.
    """

    steps: int
    rate: float = 1.2e-4
    warm_up: int = 40
    decay: float = 0.4
    groups: int = 8
    groups_per_batch: int = 2
    label_boost: float = 3.0
    regression: float = 0.1
    first_lengths: tuple[int, int] = (80, 144)
    last_lengths: tuple[int, int] = (112, 240)


@dataclass(slots=True)
class Progress:
    """Where the training stands."""

    step: int = 0
    pairs: int = 0
    loss: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.pairs / max(self.seconds, 1e-9)
        return f"step {self.step}, {self.pairs:,} pairs, {rate:.1f} pairs/s, loss {self.loss:.3f}"


@dataclass(frozen=True, slots=True)
class Group:
    """One query with eight candidates, the positive first."""

    pairs: list[tuple[Ids, Ids]]
    teacher: torch.Tensor


class Lesson:
    """The stream of groups: short texts first, long ones once `late` is set."""

    def __init__(self, data: TrainingSet, schedule: Schedule, seed: int) -> None:
        """Start with short texts."""
        self._data = data
        self._schedule = schedule
        self._rng = np.random.default_rng(seed)
        self.late = False

    def __iter__(self) -> Iterator[list[list[Group]]]:
        """Yield the micro-batches of one step, for ever.

        Sixteen steps are drawn together and sorted by length, so that little of a micro-batch is padding.
        """
        size, step = self._schedule.groups_per_batch, self._schedule.groups
        while True:
            weights = self._data.weights[int(self.late)]
            drawn = self._rng.choice(len(weights), STEPS_DRAWN * step, replace=False, p=weights / weights.sum())
            groups = sorted(map(self._group, drawn), key=lambda g: max(len(q) + len(p) for q, p in g.pairs))
            batches = [groups[i : i + size] for i in range(0, len(groups), size)]
            order = self._rng.permutation(len(batches)).reshape(STEPS_DRAWN, -1)
            for row in order:
                yield [batches[i] for i in row]

    def _group(self, query: int) -> Group:
        """Draw the positive, four of the hardest candidates, two that follow and one from far down."""
        draw = self._rng.choice
        hard, near = draw(np.arange(1, HARD), 4, replace=False), draw(np.arange(HARD, NEAR), 2, replace=False)
        chosen = np.concatenate([[0], hard, near, draw(np.arange(NEAR, FAR), 1)])
        chosen = chosen[self._data.candidates[query, chosen] >= 0]
        passages = [self._data.passages[i] for i in self._data.candidates[query, chosen]]
        text = self._data.queries[query][:QUERY_TOKENS]
        pairs = [(text, self._cut(passage)) for passage in passages]
        return Group(pairs, torch.from_numpy(self._data.scores[query, chosen] - MIDDLE))

    def _cut(self, passage: Ids) -> Ids:
        short, long = self._schedule.last_lengths if self.late else self._schedule.first_lengths
        return passage[: short if len(passage) <= self._schedule.last_lengths[0] else long]


def group_loss(logits: torch.Tensor, teacher: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """Add up the divergence from the teacher, its score of the labelled positive raised, and a regression.

    Soft labels need no guard against false negatives: a passage that the teacher likes as well keeps its share.
    """
    target = teacher.clone()
    target[0] += schedule.label_boost
    listwise = functional.kl_div(functional.log_softmax(logits, 0), functional.softmax(target, 0), reduction="sum")
    return listwise + schedule.regression * functional.smooth_l1_loss(logits, target.clamp(LOWEST, HIGHEST))


def train(student: Student, data: TrainingSet, schedule: Schedule, *, seed: int, workers: int) -> Iterator[Progress]:
    """Take the schedule's steps, yielding after each."""
    lesson, optimiser = Lesson(data, schedule, seed), student.optimiser(schedule.rate)
    stream, progress, start = iter(lesson), Progress(), time.monotonic()

    def learn(batch: list[Group]) -> float:
        logits = student.logits([pair for group in batch for pair in group.pairs])
        parts = logits.split([len(group.pairs) for group in batch])
        losses = [group_loss(p, g.teacher.to(p), schedule) for p, g in zip(parts, batch, strict=True)]
        loss = torch.stack(losses).sum() / schedule.groups
        loss.backward()
        return loss.item()

    with ThreadPoolExecutor(workers) as pool:
        while progress.step < schedule.steps:
            done = progress.step / schedule.steps
            lesson.late = done >= 1 - schedule.decay
            batches = next(stream)  # not before: a rate that falls at once learns from long texts only
            factor = min(1, (progress.step + 1) / schedule.warm_up) * min(1, max(0.02, (1 - done) / schedule.decay))
            for group in optimiser.param_groups:
                group["lr"] = group["rate"] * factor
            progress.loss = sum(pool.map(learn, batches))
            student.step(optimiser)
            progress.step += 1
            progress.pairs += sum(len(group.pairs) for batch in batches for group in batch)
            progress.seconds = time.monotonic() - start
            yield progress
