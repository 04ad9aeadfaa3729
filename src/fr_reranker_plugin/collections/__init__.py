"""Judged collections and runs: read, checked line by line, and written."""

from fr_reranker_plugin.collections.beir import load_collection, load_corpus, load_qrels, sample_folder
from fr_reranker_plugin.collections.judged import Candidate, Collection, JudgedCollection, Passage, Qrels
from fr_reranker_plugin.collections.lines import read_jsonl
from fr_reranker_plugin.collections.opening import open_collection, open_files
from fr_reranker_plugin.collections.trec import read_trec_run, write_trec_run

__all__ = [
    "Candidate",
    "Collection",
    "JudgedCollection",
    "Passage",
    "Qrels",
    "load_collection",
    "load_corpus",
    "load_qrels",
    "open_collection",
    "open_files",
    "read_jsonl",
    "read_trec_run",
    "sample_folder",
    "write_trec_run",
]
