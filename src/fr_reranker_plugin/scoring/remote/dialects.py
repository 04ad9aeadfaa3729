"""The four shapes in which a server is asked: pairs to a body, and its answer to one number per pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from fr_reranker_plugin.errors import RemoteError
from fr_reranker_plugin.scoring.remote.log_odds import logits_of_scores
from fr_reranker_plugin.scoring.remote.settings import PATHS, RemoteDialect
from fr_reranker_plugin.scoring.scorer import Logits, Pair


class Dialect(ABC):
    """How one kind of server is asked.

    :ivar name: Its name among `RemoteDialect`.
    :ivar most_texts: Texts of one request where the server does not say how many it takes.
    :ivar largest_part: Most texts of one request, however many the server takes.
    :ivar has_info: Whether such a server tells its limits under `/info`.
    :ivar mixes_queries: Whether one request may hold pairs of several queries.
    """

    name: ClassVar[RemoteDialect]
    most_texts: ClassVar[int] = 1000
    largest_part: ClassVar[int] = 1000
    has_info: ClassVar[bool] = False
    mixes_queries: ClassVar[bool] = False

    @property
    def path(self) -> str:
        """Where it is asked, below the server's address."""
        return PATHS[self.name]

    @abstractmethod
    def body(self, pairs: Sequence[Pair], model: str | None) -> dict[str, Any]:
        """Give the request for pairs, which have one query unless queries may be mixed."""

    @abstractmethod
    def read(self, content: object, count: int) -> Logits:
        """Give the numbers of an answer in the order of its `count` pairs.

        :raises RemoteError: If it is not such an answer.
        """

    def logits(self, numbers: Logits) -> Logits:
        """Make logits of the numbers of one call; they are logits already unless a dialect has scores only."""
        return numbers


class Native(Dialect):
    """`POST /score` of `fr-reranker serve`: logits, and which texts were cut."""

    name = "native"
    largest_part = 128  # eight of them fill the batches of a device, and its queue by a quarter
    has_info = True
    mixes_queries = True

    def body(self, pairs: Sequence[Pair], model: str | None) -> dict[str, Any]:  # noqa: ARG002 -- it has one model
        """Ask for the logits of pairs."""
        return {"pairs": [{"query": query, "passage": passage} for query, passage in pairs], "raw_scores": True}

    def read(self, content: object, count: int) -> Logits:
        """Read `scores`, `truncated` and `tokens`."""
        match content:
            case {"scores": [*scores], "truncated": [*truncated], "tokens": int(tokens)}:
                numbers = [_number(score) for score in scores]
                _check_count(len(numbers), count)
                return Logits(numbers, truncated=[_place(place, count) for place in truncated], tokens=tokens)
        raise _not_understood(content, "scores, truncated and tokens")


class Tei(Dialect):
    """`POST /rerank` of text-embeddings-inference: logits, by `raw_scores`."""

    name = "tei"
    most_texts = 32  # its own default
    has_info = True

    def body(self, pairs: Sequence[Pair], model: str | None) -> dict[str, Any]:  # noqa: ARG002 -- it has one model
        """Ask for raw scores; texts that are too long are cut, as everywhere here."""
        return {"query": pairs[0][0], "texts": [text for _, text in pairs], "raw_scores": True, "truncate": True}

    def read(self, content: object, count: int) -> Logits:
        """Read a list of `index` and `score`."""
        return Logits(_by_index(content, "score", count))


class _RelevanceScores(Dialect):
    """What the two services have in common: scores from 0 to 1, of which logits are made again.

    The logit is `log(score / (1 - score))`, whose sigmoid is the score that the server gave.
    """

    def body(self, pairs: Sequence[Pair], model: str | None) -> dict[str, Any]:
        """Ask for the scores of all documents."""
        named = {} if model is None else {"model": model}
        documents = [text for _, text in pairs]
        return {**named, "query": pairs[0][0], "documents": documents, "top_n": len(documents)}

    def read(self, content: object, count: int) -> Logits:
        """Read `results` with `index` and `relevance_score`."""
        results = content.get("results") if isinstance(content, Mapping) else None
        scores = _by_index(results, "relevance_score", count)
        for score in scores:
            if not 0.0 <= score <= 1.0:
                raise RemoteError(
                    f"expected relevance scores from 0 to 1, got {score}; if the server gives logits, it has to be "
                    "told to give scores"
                )
        return Logits(scores)

    def logits(self, numbers: Logits) -> Logits:
        """Make logits that have exactly the order of the scores."""
        return Logits(logits_of_scores(numbers), truncated=numbers.truncated, tokens=numbers.tokens)


class Jina(_RelevanceScores):
    """`POST /v1/rerank` of Jina, and of the servers that follow it."""

    name = "jina"

    def body(self, pairs: Sequence[Pair], model: str | None) -> dict[str, Any]:
        """Ask for scores alone, as Jina repeats documents otherwise."""
        return {**super().body(pairs, model), "return_documents": False}


class Cohere(_RelevanceScores):
    """`POST /v2/rerank` of Cohere."""

    name = "cohere"


DIALECTS: Final[dict[str, Dialect]] = {dialect.name: dialect for dialect in (Native(), Tei(), Jina(), Cohere())}


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What `/info` tells of a server.

    :param dialect: `"native"` for `fr-reranker serve`, else `"tei"`.
    :param model: Its model; `None` if it does not say.
    :param most_texts: How many texts it takes in one request; `None` if it does not say.
    """

    dialect: RemoteDialect
    model: str | None
    most_texts: int | None


def server_info(content: object) -> ServerInfo | None:
    """Read the answer of `/info`; `None` if it is that of some other kind of server."""
    if not isinstance(content, Mapping) or not {"max_client_batch_size", "model_id"} & content.keys():
        return None
    most, model = content.get("max_client_batch_size"), content.get("model_id")
    return ServerInfo(
        dialect="native" if content.get("served_by") == "fr-reranker" else "tei",
        model=model if isinstance(model, str) else None,
        most_texts=most if isinstance(most, int) and most > 0 else None,
    )


def _by_index(results: object, name: str, count: int) -> list[float]:
    """Put the numbers of a ranking back into the order of the texts."""
    if not isinstance(results, list) or not all(isinstance(one, Mapping) and name in one for one in results):
        raise _not_understood(results, f"a list of index and {name}")
    found = {_place(one.get("index"), count): _number(one[name]) for one in results}
    _check_count(len(found), count)
    return [found[place] for place in range(count)]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RemoteError(f"expected a number for each text, the server gave {repr(value)[:40]}")
    return float(value)


def _place(value: object, count: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise RemoteError(f"expected places of texts from 0 to {count - 1}, the server gave {repr(value)[:40]}")
    return value


def _check_count(found: int, count: int) -> None:
    if found != count:
        raise RemoteError(f"expected {count} scores, one for each text, the server gave {found}")


def _not_understood(content: object, expected: str) -> RemoteError:
    names = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
    return RemoteError(f"expected {expected} from the server, got {names}; is remote_dialect right?")
