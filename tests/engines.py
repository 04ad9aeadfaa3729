"""Engines for tests of the batcher: they score a pair by the length of its passage."""

import threading

from fr_reranker_plugin.scoring.scorer import EncodedPair

TIMEOUT = 20


class LengthEngine:
    """One token per character of the passage; the logit is that length. Keeps what it was given."""

    def __init__(self):
        self.batches = []

    def encode(self, pairs):
        return [
            EncodedPair([ord(c) for c in passage], [0] * len(passage), passage.endswith("…")) for _, passage in pairs
        ]

    def forward(self, batch):
        self.batches.append(["".join(map(chr, pair.token_ids)) for pair in batch])
        return [float(len(pair.token_ids)) for pair in batch]


class GatedEngine(LengthEngine):
    """Waits in every batch until the gate is open; tells when the first batch has begun."""

    def __init__(self):
        super().__init__()
        self.started = threading.Event()
        self.gate = threading.Event()

    def forward(self, batch):
        logits = super().forward(batch)
        self.started.set()
        assert self.gate.wait(TIMEOUT)
        return logits


class FailsOn(LengthEngine):
    """Fails whenever a passage with `word` is in the batch."""

    def __init__(self, word):
        super().__init__()
        self.word = word

    def forward(self, batch):
        logits = super().forward(batch)
        if any(self.word in passage for passage in self.batches[-1]):
            raise RuntimeError(f"cannot read {self.word!r}")
        return logits


class Answers(LengthEngine):
    """Gives the logits it was told to, whatever it is asked."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, batch):
        super().forward(batch)
        return self.logits
