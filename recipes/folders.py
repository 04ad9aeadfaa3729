"""Writing a model as a plain Hugging Face folder that compresses well."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig

FP16_MANTISSA = 10
SPECIAL_ROLES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}


def round_mantissa(weights: torch.Tensor, bits: int) -> torch.Tensor:
    """fp16 with the mantissa rounded (half to even) to `bits` bits.

    The trailing zeros let deflate halve the file (Klöwer et al. 2021, "Compressing atmospheric data into its real
    information content").
    """
    raw: np.ndarray = weights.to(torch.float16).contiguous().numpy().view(np.uint16).astype(np.uint32)
    if (dropped := FP16_MANTISSA - bits) > 0:
        half = (1 << (dropped - 1)) - 1
        raw = ((raw + half + ((raw >> dropped) & 1)) >> dropped) << dropped
    return torch.from_numpy(raw.astype(np.uint16).view(np.float16))


def save_model(folder: Path, state: dict[str, torch.Tensor], config: BertConfig, *, bits: int) -> None:
    """Write ``config.json`` and ``model.safetensors``; only matrices are rounded, biases and norms stay fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    # What to compute in, not what is stored: fp16 is slow on CPUs, and libraries follow this field.
    config.dtype = torch.float32
    config.save_pretrained(folder)
    rounded = {name: round_mantissa(t, bits if t.ndim > 1 else FP16_MANTISSA) for name, t in state.items()}
    path = folder / "model.safetensors"
    save_file(rounded, path, metadata={"format": "pt"})
    path.chmod(0o644)


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write the tokenizer so that transformers 4 and 5 load it without sentencepiece."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = SPECIAL_ROLES | {
        # The name of transformers 4, which 5 reads too. The general class would not know how XLM-R joins a pair, and
        # FlagEmbedding on transformers 4 would leave the special tokens out.
        "tokenizer_class": "XLMRobertaTokenizerFast",
        "model_max_length": 512,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", SPECIAL_ROLES)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def deflated_megabytes(folder: Path) -> float:
    """Return what the folder takes in a wheel (deflate, 10^6 bytes)."""
    sizes = [len(zlib.compress(path.read_bytes())) for path in folder.rglob("*") if path.is_file()]
    return round(sum(sizes) / 1e6, 2)
