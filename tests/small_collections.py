"""A small collection in the shape of mMARCO-fr, written in every form that is read."""

import json
from pathlib import Path

WORDS = ("impôt", "mairie", "école", "permis", "loyer", "train", "santé", "retraite", "vote", "passeport")
QUERIES = {str(300 + n): f"Comment obtenir {WORDS[n]} et {WORDS[n - 1]} ?" for n in range(8)}
PASSAGES = {str(n): f"{WORDS[n % 10]} {WORDS[n * 7 % 10]} numéro {n} à l'été" for n in range(60)}
POSITIVES = {query: [str(n), str(n + 10)][: 1 + n % 2] for n, query in enumerate(QUERIES)}
NEGATIVES = {query: [str(20 + (n * 5 + k) % 40) for k in range(12)] for n, query in enumerate(QUERIES)}


def candidates(query: str) -> list[str]:
    return [*POSITIVES[query], *NEGATIVES[query]]


def write_lines(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def as_json(identifier: str, text: str) -> str:
    return json.dumps({"_id": identifier, "text": text}, ensure_ascii=False)


def write_beir(folder: Path) -> Path:
    write_lines(folder / "corpus.jsonl", [as_json(one, text) for one, text in PASSAGES.items()])
    write_lines(folder / "queries.jsonl", [as_json(one, text) for one, text in QUERIES.items()])
    judged = [f"{query}\t{one}\t1" for query, some in POSITIVES.items() for one in some]
    write_lines(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", *judged])
    return folder


def write_collection_tsv(path: Path) -> Path:
    return write_lines(path, [f"{one}\t{text}" for one, text in PASSAGES.items()])


def write_queries_tsv(path: Path) -> Path:
    unjudged = "999\tPersonne n'a jugé cette question"
    return write_lines(path, [*(f"{one}\t{text}" for one, text in QUERIES.items()), unjudged])


def write_trec_qrels(path: Path) -> Path:
    return write_lines(path, [f"{query} 0 {one} 1" for query, some in POSITIVES.items() for one in some])


def write_pool_lists(path: Path) -> Path:
    rows = [{"qid": int(q), "pos": list(map(int, POSITIVES[q])), "neg": list(map(int, NEGATIVES[q]))} for q in QUERIES]
    return write_lines(path, [json.dumps(row) for row in rows])


def write_top1000(path: Path) -> Path:
    """The lines of different queries are mixed, as in the published file."""
    lines = [f"{q}\t{one}\t{QUERIES[q]}\t{PASSAGES[one]}" for q in QUERIES for one in candidates(q)]
    return write_lines(path, sorted(lines, key=lambda line: line.split("\t")[1]))


def write_trec_run(path: Path) -> Path:
    return write_lines(
        path, [f"{q} Q0 {one} {place} {-place} bm25" for q in QUERIES for place, one in enumerate(candidates(q), 1)]
    )


def write_ms_marco_run(path: Path) -> Path:
    return write_lines(path, [f"{q}\t{one}\t{place}" for q in QUERIES for place, one in enumerate(candidates(q), 1)])
