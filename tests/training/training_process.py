"""A training run in processes of its own; one of them may kill itself while it writes its second checkpoint."""

import os
import signal
import sys
from pathlib import Path

from fr_reranker_plugin.training import reranker_trainer
from fr_reranker_plugin.training.checkpoints import declare_whole
from fr_reranker_plugin.training.dev_sets import DevSource
from fr_reranker_plugin.training.training_plan import TrainingPlan
from fr_reranker_plugin.training.training_run import train
from training.lessons import tiny_recipe


def plan(model: str, folder: Path, out: str, **changes: object) -> TrainingPlan:
    return TrainingPlan(
        recipe=tiny_recipe(model, **changes),
        data=(folder / "lesson.jsonl",),
        out=folder / out,
        dev=DevSource(examples=(folder / "dev.jsonl",)),
        device="cpu",
    )


def die_in_second_checkpoint(checkpoint: Path) -> None:
    """Kill the process when everything of the second checkpoint is written but the word that it is whole."""
    if checkpoint.name.endswith("-4"):
        declare_whole(checkpoint)
        return
    (checkpoint / "optimizer.pt").write_bytes(b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    model, folder, out, *deadly = sys.argv[1:]
    if deadly:
        reranker_trainer.declare_whole = die_in_second_checkpoint
    train(plan(model, Path(folder), out))
