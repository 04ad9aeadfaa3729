"""Texts that tokenizers and scorers get wrong most easily."""

from random import Random

from checkpoints import SENTENCES

HARD_TEXTS = [
    "",
    " ",
    "\n\t\n",
    "é",
    "l'été à Nîmes — 1 500 €",
    "👩🏽‍🚀 🇫🇷 😀",
    "ligne une\nligne deux\r\nligne trois",
    "\u00a0espace insécable\u202f!",
    "e\u0301 décomposé",
    "mot" * 300,
    "un mot " * 700,
    "<s> </s> [SEP] [CLS] <pad>",
    "\u200b\ufeff\x00",
    "العربية 日本語 ქართული",
]


def hard_pairs(count, seed=0):
    """Random pairs of hard texts, sentences and cut or repeated sentences; both sides may be very long."""
    random = Random(seed)
    texts = HARD_TEXTS + SENTENCES

    def text():
        chosen = random.choice(texts)
        if random.random() < 0.3:
            chosen = " ".join(random.choices(SENTENCES, k=random.randint(1, 40)))
        return chosen[: random.randint(0, len(chosen))] if random.random() < 0.3 else chosen

    return [(text(), text()) for _ in range(count)]
