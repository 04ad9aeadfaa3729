"""What `fr_reranker_plugin.langchain` needs and what it leaves alone, each in a fresh interpreter."""

import os
import subprocess
import sys


def run_python(code):
    """Run `code` with warnings as errors; langchain-community and langchain-classic cannot be imported there."""
    without = "import sys; sys.modules.update(langchain_community=None, langchain_classic=None, langchain=None)\n"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", without + code],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )


def test_it_needs_langchain_core_only_and_warns_of_nothing():
    code = """
from langchain_core.documents import Document
from fr_reranker_plugin.langchain import (
    FaissVectorStore, FrenchCrossEncoder, FrenchCrossEncoderReranker, FrenchEmbeddings, FrenchRerankRetriever
)
store = FaissVectorStore(FrenchEmbeddings())
FrenchRerankRetriever(first_stage=store)
assert store.get_by_ids(["a"]) == [] and store.delete()
made = FrenchCrossEncoderReranker(model="embedded"), FrenchCrossEncoder(model="embedded")
assert made[0].compress_documents([], "q") == made[1].score([]) == []
assert made[0].compress_documents([Document(page_content="a")], " ")
heavy = {"torch", "transformers", "haystack", "faiss", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_without_faiss_the_error_names_the_extra_before_anything_is_embedded():
    code = """
sys.modules["faiss"] = None
from langchain_core.embeddings import Embeddings
from fr_reranker_plugin.langchain import FaissVectorStore
class Unused(Embeddings):
    def embed_documents(self, texts): raise SystemExit("embedded")
    embed_query = embed_documents
FaissVectorStore.from_texts(["a"], Unused())
"""
    done = run_python(code)
    assert "MissingDependencyError" in done.stderr
    assert "[faiss]" in done.stderr


def test_without_langchain_core_the_error_names_the_extra():
    done = run_python("sys.modules['langchain_core'] = None\nimport fr_reranker_plugin.langchain")
    assert "MissingDependencyError" in done.stderr
    assert "pip install 'fr-reranker-plugin[langchain]'" in done.stderr
    assert done.returncode != 0
