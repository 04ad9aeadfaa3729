"""Search a French collection with Haystack: BM25 finds fifty passages, the cross-encoder puts the best first.

Runs without a network: `python examples/haystack_pipeline.py "Comment refaire une carte d'identité volée ?"`
"""

import sys
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fr_reranker_plugin.collections import load_collection
from fr_reranker_plugin.haystack import FrenchCrossEncoderRanker

question = sys.argv[1] if len(sys.argv) > 1 else "Comment refaire une carte d'identité volée ?"

collection = load_collection(Path(__file__).parent / "sample_collection")
store = InMemoryDocumentStore()
store.write_documents(
    [
        Document(id=name, content=passage.text, meta={"title": passage.title})
        for name, passage in collection.corpus.items()
    ]
)

pipeline = Pipeline()
pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=50))
pipeline.add_component(
    "ranker",
    FrenchCrossEncoderRanker(model="embedded", top_k=5, meta_fields_to_embed=["title"], score_meta_field="bm25_score"),
)
pipeline.connect("retriever", "ranker")

answer = pipeline.run({"retriever": {"query": question}, "ranker": {"query": question}})
print(question)
for document in answer["ranker"]["documents"]:
    print(f"{document.score:.3f}  (bm25 {document.meta['bm25_score']:5.2f})  {document.meta['title']}")
pipeline.close()
