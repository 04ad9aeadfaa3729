"""What the cross-encoder learns from: queries with scored candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
import Stemmer
from tokenizers import Tokenizer

from pairs import Pair
from texts import Embedder, Ids, token_ids

# What is plentiful (software documentation, often machine-translated) is capped; questions come first.
MOST_PAIRS = {
    "ms-dotnet": 2200,
    "ms-dynamics365": 3500,
    "ms-windows-server": 1500,
    "adobe-workfront": 2500,
    "libreoffice-help": 2200,
    "ms-teams": 1000,
    "ms-aspnetcore": 600,
    "adobe-analytics": 1200,
    "ms-office-support": 1500,
    "ms-powershell": 700,
}
GENERAL = {"legi", "service-public", "mon-entreprise", "nosgestesclimat", "etalab-guides", "debian-handbook"}
LONG, SHORT = 240, 112
TEMPERATURE, LEXICAL_WEIGHT = 0.02, 2.0
CANDIDATES, DENSE_DEPTH, LEXICAL_DEPTH, RANDOM = 64, 60, 40, 12
TRANSLATIONS = {"human": 0, "original": 0, "unknown": 1, "machine": 2}


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Tokenised queries and passages; per query its candidates, the positive first, and the teacher's scores.

    `weights` has two rows: how often a query is drawn while texts are short, and later, when they are long.
    """

    queries: list[Ids]
    passages: list[Ids]
    candidates: np.ndarray
    scores: np.ndarray
    weights: np.ndarray


def choose_pairs(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """Cap the plentiful sources, keeping their questions and human translations first."""
    by_source: dict[str, list[Pair]] = defaultdict(list)
    for position in rng.permutation(len(pairs)):
        by_source[pairs[position].source].append(pairs[position])
    chosen: list[Pair] = []
    for source, rows in by_source.items():
        rows.sort(key=lambda p: (p.kind != "question", TRANSLATIONS[p.translation], p.kind == "description"))
        chosen += rows[: MOST_PAIRS.get(source)]
    return chosen


def weight(pair: Pair, *, late: bool) -> float:
    """Say how often a pair is drawn: real questions and general sources more, and late even more so."""
    if pair.source == "service-public":
        return 6.0 if late else 3.0
    if pair.kind == "question" or pair.source in GENERAL:
        return 2.0
    return 0.35 if late else 1.0


def build_training_set(
    pairs: Sequence[Pair],
    passages: Mapping[str, Mapping[str, str]],
    tokenizer: Tokenizer,
    embedder: Embedder,
    rng: np.random.Generator,
) -> TrainingSet:
    """Choose among the pairs, embed them, and score the candidates of each query.

    The passages are cut to what the cross-encoder will read, so that teacher and student see the same words.
    """
    pairs = choose_pairs(pairs, rng)
    pool = list(dict.fromkeys(i for p in pairs for i in (p.positive, *p.negatives[:3])))
    long = {i for i in pool if passages[i]["source"] in GENERAL | {"piaf"}}
    ids = token_ids(tokenizer, [passages[i]["full_text"] for i in pool])
    ids = [text[: LONG if i in long else SHORT] for i, text in zip(pool, ids, strict=True)]
    queries = token_ids(tokenizer, [p.query for p in pairs])
    row = {identifier: position for position, identifier in enumerate(pool)}
    candidates, scores = score_candidates(
        np.array([row[p.positive] for p in pairs]),
        embedder.embed(queries, "query"),
        embedder.embed(ids, "passage"),
        lexical_ranking([tokenizer.decode(text) for text in ids], [p.query for p in pairs]),
        rng,
    )
    weights = np.array([[weight(p, late=late) for p in pairs] for late in (False, True)])
    return TrainingSet(queries, ids, candidates, scores, weights)


def lexical_ranking(texts: Sequence[str], queries: Sequence[str], depth: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Rank by BM25 (French Snowball stems): the positions of the best texts per query, and their scores."""
    stemmer = Stemmer.Stemmer("french")
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(bm25s.tokenize(list(texts), stemmer=stemmer, stopwords=[], show_progress=False), show_progress=False)
    words = bm25s.tokenize(list(queries), stemmer=stemmer, stopwords=[], show_progress=False)
    positions, scores = index.retrieve(words, k=depth, show_progress=False)
    return np.asarray(positions), np.asarray(scores)


def score_candidates(
    positives: np.ndarray,
    queries: np.ndarray,
    passages: np.ndarray,
    lexical: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Score per query the positive, the best of dense and BM25, and random passages, by the teacher.

    The teacher is the first stage itself, cosine and BM25 added: better than either on every collection.
    """
    candidates = np.full((len(positives), CANDIDATES), -1, np.int32)
    scores = np.full((len(positives), CANDIDATES), -99, np.float32)
    for q, positive in enumerate(positives):
        cosine = passages @ queries[q]
        dense = np.argpartition(-cosine, DENSE_DEPTH)[:DENSE_DEPTH]
        words = lexical[0][q], lexical[1][q]
        mixed = rng.integers(0, len(passages), RANDOM)
        union = np.setdiff1d(np.concatenate([dense, words[0][:LEXICAL_DEPTH], mixed]), [positive])
        teacher = cosine[union] / TEMPERATURE + LEXICAL_WEIGHT * lexical_share(union, *words)
        order = np.argsort(-teacher)
        best, rest = order[: CANDIDATES - 1 - RANDOM], order[CANDIDATES - 1 - RANDOM :]
        kept = np.concatenate([best, rng.choice(rest, min(RANDOM, len(rest)), replace=False)]).astype(int)
        share = lexical_share(np.array([positive]), *words)[0]
        candidates[q, : len(kept) + 1] = [positive, *union[kept]]
        scores[q, : len(kept) + 1] = [cosine[positive] / TEMPERATURE + LEXICAL_WEIGHT * share, *teacher[kept]]
    return candidates, scores


def lexical_share(passages: np.ndarray, ranked: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Divide BM25 scores by the query's best one; what BM25 did not return gets at most 0.3."""
    best = max(float(scores[0]), 1e-6)
    known = dict(zip(ranked.tolist(), scores.tolist(), strict=True))
    unknown = min(float(scores[-1]), 0.3 * best)
    return np.array([known.get(p, unknown) / best for p in passages.tolist()])
