"""What can be set about an index: frozen, and checked when built."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self, get_args

from fr_reranker_plugin.errors import IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.scoring.settings import check_whole_number

IndexKind = Literal["flat", "hnsw", "ivf", "ivfpq"]
"""How vectors are found: by comparing all, along a graph, or within lists of near ones, whole or compressed."""

SearchDevice = Literal["auto", "cpu", "cuda"]
"""Where vectors are compared; `"auto"` is a GPU if faiss sees one and the kind can use it, else the CPU."""

_FEWEST_NEIGHBOURS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """How an index finds vectors; stored with it and equal for its whole life.

    Every kind scores by cosine, computed exactly from the vectors. `"flat"` compares the query with every vector and
    never misses. `"hnsw"` follows a graph: fast at any size, but the graph costs memory and building it time, and
    thousands of equal vectors bar the way to their neighbours: leave copies of a text out. `"ivf"` looks into the
    nearest lists only. `"ivfpq"` does so on compressed vectors, which stay in memory, while the exact
    ones stay in the database on disk: for tens of millions. The two kinds with lists compare every vector until there
    are enough to train them on (39 per list).

    :param dimension: Length of a vector.
    :param kind: How vectors are found.
    :param encoder: What made the vectors; checked when the index is opened with an expectation.
    :param hnsw_neighbours: Links per vector of the graph. More find better, and cost 8 bytes per link in memory.
    :param hnsw_build_width: How many candidates are weighed when a vector is linked in.
    :param hnsw_search_width: How many candidates are kept during a search; at least `k` are.
    :param ivf_lists: Number of lists. `None`: about four times the square root of the number of vectors, chosen anew
        when an index has grown to four times its size.
    :param ivf_probes: How many of the nearest lists a search looks into.
    :param pq_bytes: Bytes per compressed vector; a divisor of `dimension`. `None`: the largest divisor up to an eighth.
    :raises SettingsError: If a value is not allowed.
    """

    dimension: int
    kind: IndexKind = "flat"
    encoder: EncoderIdentity | None = None
    hnsw_neighbours: int = 32
    hnsw_build_width: int = 128
    hnsw_search_width: int = 128
    ivf_lists: int | None = None
    ivf_probes: int = 32
    pq_bytes: int | None = None

    def __post_init__(self) -> None:
        check_whole_number("dimension", self.dimension)
        if self.kind not in get_args(IndexKind):
            raise SettingsError(f"kind must be one of {', '.join(map(repr, get_args(IndexKind)))}, got {self.kind!r}")
        check_whole_number("hnsw_neighbours", self.hnsw_neighbours, at_least=_FEWEST_NEIGHBOURS)
        for name in ("hnsw_build_width", "hnsw_search_width", "ivf_probes"):
            check_whole_number(name, getattr(self, name))
        if self.ivf_lists is not None:
            check_whole_number("ivf_lists", self.ivf_lists)
        self._check_pq_bytes()
        if self.encoder is not None and self.encoder.dimension != self.dimension:
            raise SettingsError(
                f"dimension must be that of the encoder, {self.encoder.dimension}, but got {self.dimension}"
            )

    @property
    def compressed_bytes(self) -> int:
        """Bytes per compressed vector of the kind `"ivfpq"`."""
        if self.pq_bytes is not None:
            return self.pq_bytes
        most = max(1, self.dimension // 8)
        return max(size for size in range(1, most + 1) if self.dimension % size == 0)

    def check_encoder(self, expected: EncoderIdentity, place: str) -> None:
        """Refuse an encoder that did not make the vectors; of an index that names none, the dimension alone is known.

        :param place: What the message calls the index.
        :raises IndexFolderError: If it is another.
        """
        differences = self.encoder.differences(expected) if self.encoder is not None else []
        if self.encoder is None and self.dimension != expected.dimension:
            differences = [f"dimension {self.dimension}, not {expected.dimension}"]
        if differences:
            raise IndexFolderError(
                f"{place} was made with another encoder than the one expected: {'; '.join(differences)}. "
                "Load the encoder it was made with, or index the documents again"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` gave.

        :raises SettingsError: If a name is not known or a value is not allowed.
        """
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise SettingsError(f"unknown index settings: {', '.join(unknown)}")
        encoder = values.get("encoder")
        return cls(**{**values, "encoder": None if encoder is None else EncoderIdentity(**encoder)})

    def _check_pq_bytes(self) -> None:
        if self.pq_bytes is None:
            return
        check_whole_number("pq_bytes", self.pq_bytes)
        if self.dimension % self.pq_bytes:
            raise SettingsError(f"pq_bytes must divide the dimension {self.dimension}, but got {self.pq_bytes}")


def check_device(device: SearchDevice) -> None:
    """Refuse a device that is none.

    :raises SettingsError: Then.
    """
    if device not in get_args(SearchDevice):
        raise SettingsError(f"device must be one of {', '.join(map(repr, get_args(SearchDevice)))}, got {device!r}")
