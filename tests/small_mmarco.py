"""mMARCO-fr in small, in the true file formats."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fr_reranker_plugin.training.mmarco_files import PUBLISHED

PASSAGES = {n: f"Le passage {n} parle du sujet numéro {n % 30}, à Évreux." for n in range(300)}
QUERIES = {1000 + 3 * n: f"Que dit-on du sujet {n} ?" for n in range(30)}
POSITIVES = {query: [n, n + 30][: 1 + n % 2] for n, query in enumerate(QUERIES)}
FOUND = {
    query: {
        "bm25": [(60 + 7 * n + k) % 300 for k in range(10)],
        "tas-b": [(90 + 7 * n + 2 * k) % 300 for k in range(10)],
        "margin-mse": [(120 + 5 * n + 3 * k) % 300 for k in range(10)],
    }
    for n, query in enumerate(QUERIES)
}


def teacher(query: int, passage: int) -> float:
    """What the teacher says: 8 for positives, and from 0 to 7.5 for others, so that some are too near."""
    return 8.0 if passage in POSITIVES[query] else (query * 7 + passage * 3) % 16 / 2


def scores() -> dict[int, dict[int, float]]:
    return {
        query: {one: teacher(query, one) for ids in [POSITIVES[query], *systems.values()] for one in ids}
        for query, systems in FOUND.items()
    }


def lines() -> list[dict[str, Any]]:
    """The published file also has queries without positives."""
    rows = [{"qid": query, "pos": POSITIVES[query], "neg": FOUND[query]} for query in QUERIES]
    return [*rows[:5], {"qid": 77, "pos": [], "neg": {}}, *rows[5:]]


def write_mmarco(folder: Path, *, by_path: bool = False, teacher_scores: Mapping[int, Any] | None = None) -> Path:
    """Write the four files under their published names or paths."""
    places = {key: folder / (one.name if by_path else Path(one.name).name) for key, one in PUBLISHED.items()}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
    for key, texts in (("collection", PASSAGES), ("queries", QUERIES)):
        places[key].write_text("".join(f"{one}\t{text}\n" for one, text in texts.items()), encoding="utf-8")
    with gzip.open(places["hard_negatives"], "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in lines()))
    with gzip.open(places["scores"], "wb") as file:
        pickle.dump(scores() if teacher_scores is None else teacher_scores, file)
    return folder
