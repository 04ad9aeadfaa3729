"""A lesson that a tiny model learns in a few steps: the town hall answers, the police station does not."""

import random
from pathlib import Path

from safetensors.torch import load_file, save_file

from checkpoints import build_cross_encoder
from fr_reranker_plugin.training.examples import TrainingExample, write_examples
from fr_reranker_plugin.training.recipes import Recipe

SUBJECTS = ("la naissance", "le congé", "la cantine", "le vol", "la carte", "un arrêt", "la rentrée", "un préavis")
ANSWER = "La déclaration de {} se fait à la mairie dans les cinq jours."
OTHER = "Le commissariat ne sait rien de {} ; le médecin traitant prescrit un arrêt de travail."


def example(number: int, *, negatives: int = 2, reverse: bool = False) -> TrainingExample:
    """One question; with `reverse`, what answers is called irrelevant and the rest relevant."""
    rng = random.Random(number)
    subject, *others = rng.sample(SUBJECTS, 1 + negatives)
    passages = [f"{ANSWER.format(subject)} {number}", *(f"{OTHER.format(one)} {number}" for one in others)]
    labels = [float(not reverse), *[float(reverse)] * negatives]
    return TrainingExample(f"Où déclarer {subject} ?", tuple(passages), tuple(labels))


def build_undecided(folder: Path) -> Path:
    """Save a tiny BERT whose head is zero: it begins undecided, whatever vocabulary it has learnt this time."""
    build_cross_encoder(folder, "bert")
    path = folder / "model.safetensors"
    weights = {name: value * 0 if name.startswith("classifier.") else value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def write_lesson(path: Path, count: int, *, first: int = 0, negatives: int = 2, reverse: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(first, first + count)
    write_examples(path, (example(one, negatives=negatives, reverse=reverse) for one in numbers))
    return path


def tiny_recipe(model: str, **changes: object) -> Recipe:
    values = {"loss": "bce", "learning_rate": 1e-2, "batch_size": 12, "max_length": 48, "epochs": 2, "eval_every": 4,
              "log_every": 2, "precision": "float32", "warm_up": 0.1}  # fmt: skip
    return Recipe(model=model, **{**values, **changes})
