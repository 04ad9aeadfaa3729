"""Write down the logits of twenty French pairs, after the embedded cross-encoder was replaced on purpose.

    python recipes/golden_scores.py

The tests compare with this file, so that no library or change of code moves the scores unnoticed.
"""

from __future__ import annotations

import json
from pathlib import Path

from fr_reranker_plugin import ModelSettings, shared_scorer
from fr_reranker_plugin.collections import load_collection

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "scoring" / "golden_scores.jsonl"


def main() -> None:
    """Score ten questions with an answer and with a near miss each."""
    collection = load_collection(ROOT / "examples" / "sample_collection")
    pairs = []
    for query_id in list(collection.queries)[::6][:10]:
        grades = collection.qrels[query_id]
        chosen = (max(grades, key=grades.__getitem__), min(grades, key=grades.__getitem__))
        pairs += [(collection.queries[query_id], collection.corpus[passage].full_text) for passage in chosen]
    scorer = shared_scorer(ModelSettings(model="embedded", device="cpu"))
    rows = [
        {"query": query, "passage": passage, "logit": round(logit, 5)}
        for (query, passage), logit in zip(pairs, scorer.score(pairs), strict=True)
    ]
    scorer.close()
    GOLDEN.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"wrote {len(rows)} pairs to {GOLDEN.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
