"""Choose results that are near to the query and not near to each other."""

from __future__ import annotations

import numpy as np

from fr_reranker_plugin.retrieval.vectors import Vectors


def maximal_marginal_relevance(query: Vectors, candidates: Vectors, k: int, *, relevance: float) -> list[int]:
    """Choose candidates one by one: each time the one with the largest marginal relevance.

    That is `relevance * cosine(query, candidate) - (1 - relevance) * highest cosine to one chosen already`; among equal
    ones the first is taken, and the first choice is the candidate nearest to the query.

    :param query: A unit vector, shape (dimension,).
    :param candidates: Unit vectors, shape (n, dimension).
    :param k: How many to choose; fewer if there are fewer.
    :param relevance: In 0..1: 1 looks at the query alone, 0 at diversity alone.
    :return: Positions among the candidates, in the order of choice.
    """
    to_query = candidates @ query
    marginal = to_query.copy()
    to_chosen = np.full(len(candidates), -np.inf, dtype=np.float32)
    chosen: list[int] = []
    while len(chosen) < min(k, len(candidates)):
        best = int(np.argmax(marginal))
        chosen.append(best)
        np.maximum(to_chosen, candidates @ candidates[best], out=to_chosen)
        marginal = relevance * to_query - (1 - relevance) * to_chosen
        marginal[chosen] = -np.inf
    return chosen
