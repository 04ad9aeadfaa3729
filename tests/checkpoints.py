"""Tiny real checkpoints with random weights, built in the test run: one per supported family."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

SENTENCES = [
    "Comment obtenir une carte nationale d'identité quand l'ancienne est perdue ?",
    "La déclaration de naissance se fait à la mairie du lieu de naissance dans les cinq jours.",
    "Le locataire donne congé par lettre recommandée avec un préavis d'un à trois mois.",
    "L'élève boursier reçoit l'aide à la rentrée ; la famille n'a rien à payer à la cantine.",
    "Où déposer une plainte après un vol ? Au commissariat, à la gendarmerie ou en ligne.",
    "Le médecin traitant prescrit un arrêt de travail, à envoyer sous quarante-huit heures.",
]
"""French text that the tiny vocabularies were learnt from."""

# Kept as files: two processes that learn Unigram or WordPiece pieces from one text end with different ones.
_VOCABULARIES = Path(__file__).parent / "vocabularies"

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_XLM_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]

FAMILIES = ("xlm-roberta", "camembert", "roberta", "bert", "distilbert")


def build_cross_encoder(folder: Path, family: str = "xlm-roberta", *, seed: int = 0, num_labels: int = 1) -> Path:
    """Save a tiny one-logit cross-encoder of `family` and give its folder back."""
    torch.manual_seed(seed + FAMILIES.index(family))  # families that share a vocabulary differ in their weights
    tokenizer = _bert_tokenizer() if family in ("bert", "distilbert") else _xlm_tokenizer(family)
    tokenizer.save_pretrained(folder)
    config = _config(family, len(tokenizer), num_labels)
    config.initializer_range = 0.5  # far from zero, so that the logits of two passages differ
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    return folder


def _config(family: str, vocabulary: int, num_labels: int) -> PretrainedConfig:
    if family == "bert":
        return BertConfig(vocab_size=vocabulary, pad_token_id=0, num_labels=num_labels, **_SIZES)
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=vocabulary, dim=32, n_layers=2, n_heads=2, hidden_dim=64, pad_token_id=0, num_labels=num_labels
        )
    kinds = {"xlm-roberta": XLMRobertaConfig, "camembert": CamembertConfig, "roberta": RobertaConfig}
    return kinds[family](
        vocab_size=vocabulary, max_position_embeddings=514, type_vocab_size=1, num_labels=num_labels,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, **_SIZES,
    )  # fmt: skip


def _xlm_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A Unigram (or, for RoBERTa, byte-level BPE) tokenizer with the `<s> A </s></s> B </s>` form."""
    if family == "roberta":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=_XLM_SPECIALS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(SENTENCES * 5, trainer)
    else:
        pieces = json.loads((_VOCABULARIES / "unigram.json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer(models.Unigram([tuple(piece) for piece in pieces], unk_id=_XLM_SPECIALS.index("<unk>")))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.add_special_tokens(_XLM_SPECIALS)
    tokenizer.decoder = decoders.ByteLevel() if family == "roberta" else decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        cls_token="<s>", sep_token="</s>", model_max_length=512, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    pieces = (_VOCABULARIES / "wordpiece.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer(models.WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(_BERT_SPECIALS)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=512, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
