"""Engines for tests of the batcher: they score a pair by the length of its passage."""

import threading

from fr_reranker_plugin.scoring.scorer import EncodedPair

TIMEOUT = 20


class LengthEngine:
    """One token per character of the passage; the logit is that length. Keeps what it was given."""

    pads = True
    depth = 1
    max_length = 512

    def __init__(self):
        self.batches = []

    def encode(self, pairs):
        return [
            EncodedPair([ord(c) for c in passage], [0] * len(passage), passage.endswith("…")) for _, passage in pairs
        ]

    def launch(self, batch):
        logits = self.forward(batch)
        return lambda: logits

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


class Fits(LengthEngine):
    """Runs out of memory on every batch that costs more than `tokens`."""

    def __init__(self, tokens, error=None, *, pads=True):
        super().__init__()
        self.tokens = tokens
        self.pads = pads
        self.error = error or MemoryError("out of memory")

    def forward(self, batch):
        logits = super().forward(batch)
        lengths = [len(pair.token_ids) for pair in batch]
        if (max(lengths) * len(lengths) if self.pads else sum(lengths)) > self.tokens:
            raise self.error
        return logits


class LosesItsDevice(GatedEngine):
    """Fails for good, once the gate is open."""

    def forward(self, batch):
        super().forward(batch)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class Pipelined(LengthEngine):
    """Takes two batches at a time: gives logits only when the gate of their number is open."""

    depth = 2
    pads = False

    def __init__(self):
        super().__init__()
        self.launched = [threading.Event() for _ in range(4)]
        self.gates = [threading.Event() for _ in range(4)]

    def launch(self, batch):
        number = len(self.batches)
        logits = self.forward(batch)
        if number < len(self.gates):
            self.launched[number].set()

        def wait():
            assert number >= len(self.gates) or self.gates[number].wait(TIMEOUT)
            return logits

        return wait


def wait_until(condition):
    """Wait for a condition that another thread brings about, with an event's patience rather than a fixed sleep."""
    never = threading.Event()
    for _ in range(TIMEOUT * 200):
        if condition():
            return
        never.wait(0.005)
    raise AssertionError("the condition did not come about")
