"""The training loop: that of sentence-transformers, with an order of the data and checkpoints that survive a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from torch.utils.data import BatchSampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fr_reranker_plugin.errors import TrainingError
from fr_reranker_plugin.scoring.loading import without_chatter
from fr_reranker_plugin.training.alarms import CALMER, keep_bad_batch
from fr_reranker_plugin.training.checkpoints import checkpoint_folder, declare_whole, remove_others, whole_steps
from fr_reranker_plugin.training.history import best_quality

KEPT_CHECKPOINTS: Final = 2
"""The latest ones; the best one is kept beside them."""

_EPOCH_BITS: Final = 20


class EpochOrder(DefaultBatchSampler):
    """Shuffles the rows of each epoch by seed and epoch alone, so that an epoch can be entered anywhere."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the positions of each batch."""
        rows = len(self.sampler)  # type: ignore[arg-type]  # it is the data set itself
        generator = torch.Generator().manual_seed((self.seed << _EPOCH_BITS) + self.epoch)
        order: list[int] = torch.randperm(rows, generator=generator).tolist()
        end = rows - rows % self.batch_size if self.drop_last else rows
        for start in range(0, end, self.batch_size):
            yield order[start : start + self.batch_size]


class RerankerTrainer(CrossEncoderTrainer):
    """A trainer whose run can be killed at any moment and goes on as if it had not been.

    :param bad_batches: Where a batch with a loss that is not finite is kept.
    """

    def __init__(self, *, bad_batches: Path, **options: Any) -> None:  # noqa: ANN401 -- handed on as they are
        super().__init__(**options)
        self._bad_batches = bad_batches
        self._orders: list[EpochOrder] = []
        self.add_callback(_EpochSetter(self._orders))

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing: the run writes its own model card."""

    def get_batch_sampler(
        self,
        dataset: Any,  # noqa: ANN401 -- the signature of sentence-transformers
        batch_size: int,
        drop_last: bool,  # noqa: FBT001
        valid_label_columns: list[str] | None = None,  # noqa: ARG002
        generator: torch.Generator | None = None,  # noqa: ARG002
        seed: int = 0,
    ) -> BatchSampler:
        """Give the order of the rows."""
        order = EpochOrder(dataset, batch_size, drop_last, seed=seed)
        self._orders.append(order)
        return order

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 -- the model, perhaps wrapped
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 -- the signature of sentence-transformers
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Compute the loss of a batch.

        :raises TrainingError: If it is not finite; the batch is kept.
        """
        batch = dict(inputs)
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = found[0] if isinstance(found, tuple) else found
        if not torch.isfinite(loss):
            path = self._bad_batches / f"batch-of-step-{self.state.global_step + 1}.json"
            keep_bad_batch(batch, path)
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; its batch is in {path}. Look there "
                f"for texts or scores that are out of the ordinary; else {CALMER}"
            )
        return found

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        with without_chatter():
            self.model.save_pretrained(output_dir or str(self.args.output_dir), create_model_card=False)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        with without_chatter():
            super()._load_from_checkpoint(checkpoint_path)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ANN401 -- transformers' signature
        """Save; only then do older checkpoints go.

        :raises TrainingError: If a weight is not finite. Not every loss shows it: LambdaLoss leaves such logits out.
        """
        if not all(torch.isfinite(weight).all() for weight in self.model.parameters()):
            raise TrainingError(
                f"weights are not finite any more at step {self.state.global_step}, so nothing of it is kept; {CALMER}"
            )
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            folder = Path(str(self.args.output_dir))
            declare_whole(checkpoint_folder(folder, self.state.global_step))
            best = best_quality(self.state.log_history)
            remove_others(folder, {*whole_steps(folder)[-KEPT_CHECKPOINTS:], best.step if best else -1})
        self.accelerator.wait_for_everyone()


class _EpochSetter(TrainerCallback):
    """Tells the order which epoch it is; accelerate's wrappers do so only in some cases."""

    def __init__(self, orders: list[EpochOrder]) -> None:
        self._orders = orders

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ANN401, ARG002 -- transformers' signature
        for order in self._orders:
            order.set_epoch(int(state.epoch or 0))
