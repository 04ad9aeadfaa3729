"""Which encoder made the vectors of an index: vectors of another one mean something else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fr_reranker_plugin.retrieval.encoder_files import Prefixes
from fr_reranker_plugin.scoring.settings import check_whole_number


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """What must be equal for two texts' vectors to be comparable.

    :param model: A Hub id, a folder, or `"embedded"`.
    :param revision: Commit, tag or branch; `None` if it is not known, which agrees with any.
    :param max_length: The longest text in tokens; longer ones were cut.
    :param query_prefix: What stood before each query.
    :param passage_prefix: What stood before each passage.
    :param dimension: Length of a vector.
    :param fingerprint: Checksum of the weights, the tokenizer and the pooling: the same model in another folder is the
        same, another model in the same folder is not. `None` if it is not known; then the names decide.
    :raises SettingsError: If a length is not a whole number of at least 1.
    """

    model: str
    revision: str | None = None
    max_length: int
    query_prefix: str = ""
    passage_prefix: str = ""
    dimension: int
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        check_whole_number("max_length", self.max_length)
        check_whole_number("dimension", self.dimension)

    @property
    def prefixes(self) -> Prefixes:
        """What stands before each query and before each passage."""
        return Prefixes(self.query_prefix, self.passage_prefix)

    def with_prefixes(self, prefixes: Prefixes) -> EncoderIdentity:
        """Give the identity of the same model with other prefixes."""
        return replace(self, query_prefix=prefixes.query, passage_prefix=prefixes.passage)

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)

    def differences(self, other: EncoderIdentity) -> list[str]:
        """Name the fields that differ, each with the value here and the value there; empty if the two agree."""
        mine, theirs = asdict(self), asdict(other)
        ignored = ["revision"] if self.revision is None or other.revision is None else []
        if self.fingerprint is None or other.fingerprint is None:
            ignored.append("fingerprint")
        elif self.fingerprint == other.fingerprint:
            ignored += ["model", "revision"]
        for name in ignored:
            mine[name] = theirs[name] = None
        return [f"{name} {mine[name]!r}, not {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]
