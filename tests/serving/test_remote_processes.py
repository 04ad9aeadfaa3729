"""Several processes that use the model of one server."""

import json
import subprocess
import sys

import pytest

from fr_reranker_plugin import ModelSettings, SharedScorer, live_scorers, rank_by_score
from serving.conftest import running

QUESTION = "Dans quel délai faut-il déclarer une naissance ?"
TEXTS = [
    "Le parc ferme à vingt heures.",
    *(f"La naissance {n} se déclare à la mairie. " * (1 + n * 9) for n in range(12)),
]
CLOSE_TO_IN_PROCESS = 1e-5

CLIENTS = {
    "scorer": """
from fr_reranker_plugin import RemoteScorer, rank_by_score
with_server = RemoteScorer(url)
ranked = [(one.index, one.score) for one in rank_by_score(with_server.score([(query, text) for text in texts]))]
""",
    "compressor": """
from langchain_core.documents import Document
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker
with_server = FrenchCrossEncoderReranker(model="embedded", remote_url=url, top_n=None)
found = with_server.compress_documents([Document(text, id=str(n)) for n, text in enumerate(texts)], query)
ranked = [(int(one.id), one.metadata["relevance_score"]) for one in found]
""",
    "cross-encoder": """
from fr_reranker_plugin.langchain import FrenchCrossEncoder
with_server = FrenchCrossEncoder(model="embedded", remote_url=url)
ranked = list(enumerate(with_server.score([(query, text) for text in texts])))
""",
    # Haystack itself imports torch where it is installed; here it is not
    "ranker": """
sys.modules["torch"] = None
from haystack import Document
from fr_reranker_plugin.haystack import FrenchCrossEncoderRanker
with_server = FrenchCrossEncoderRanker(model="embedded", remote_url=url, top_k=None)
found = with_server.run(query, [Document(content=text, id=str(n)) for n, text in enumerate(texts)])["documents"]
ranked = [(int(one.id), one.score) for one in found]
del sys.modules["torch"]
""",
}


@pytest.mark.slow
def test_four_processes_use_one_model(no_model_left):
    query, texts = QUESTION, TEXTS
    before = live_scorers()
    with running(SharedScorer(ModelSettings(model="embedded"))) as server:
        expected = server.door.scorer.score([(query, text) for text in texts])
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _program(code), server.url, json.dumps([query, texts])],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for code in CLIENTS.values()
        ]
        ends = [process.communicate(timeout=90) for process in processes]
        assert live_scorers() == before + 1
    scores = {one.index: one.score for one in rank_by_score(expected)}
    for name, (found, errors) in zip(CLIENTS, ends, strict=True):
        assert found, (name, errors)
        assert dict(json.loads(found)) == pytest.approx(scores, abs=CLOSE_TO_IN_PROCESS), name


def _program(code):
    return f"""
import json, sys
url, (query, texts) = sys.argv[1], json.loads(sys.argv[2])
{code}
with_server.close()
assert not {{"torch", "transformers", "tokenizers"}} & set(sys.modules)
print(json.dumps(ranked))
"""
