"""Tiny real bi-encoders with random weights, built in the test run."""

import json
from pathlib import Path

from transformers import AutoConfig, AutoModel

from checkpoints import build_cross_encoder

E5_PROMPTS = {"query": "query: ", "passage": "passage: "}


def build_bi_encoder(
    folder: Path,
    family: str = "xlm-roberta",
    *,
    pooling: dict | None = None,
    prompts: dict[str, str] | None = None,
    max_seq_length: int | None = None,
) -> Path:
    """Save a tiny encoder of `family` without a head, with the files of sentence-transformers that are asked for."""
    build_cross_encoder(folder, family)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    if pooling is not None:
        modules = ["Transformer", "Pooling", "Normalize"]
        write_modules(folder, modules)
        write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **pooling})
        (folder / "2_Normalize").mkdir()
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    if max_seq_length is not None:
        write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    return folder


def write_modules(folder: Path, names: list[str]) -> None:
    paths = [f"{number}_{name}" if number else "" for number, name in enumerate(names)]
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (name, path) in enumerate(zip(names, paths, strict=True))
        ],
    )


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
