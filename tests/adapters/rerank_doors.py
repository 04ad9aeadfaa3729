"""Every door to the scorer as one function: from a query and texts to (position, score) of the texts it keeps."""

import asyncio

from langchain_core.documents import Document as LangChainDocument

from adapters.haystack_documents import Document as HaystackDocument
from adapters.haystack_documents import FrenchCrossEncoderRanker
from fr_reranker_plugin import ModelSettings, SharedScorer, rank_by_score
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.ranking import Candidates, TextForm


class PlainScorer:
    """The scorer with the two pure functions around it, and no framework."""

    def __init__(self, model):
        self.model = model

    def items(self, texts):
        """Give the texts in the form that this door takes, each with its position."""
        return list(texts)

    def rerank(self, query, texts, **rules):
        return self.rerank_items(query, self.items(texts), **rules)

    def rerank_items(self, query, items, **rules):
        candidates = Candidates.from_passages(query, [TextForm().passage((), text) for text in items])
        scorer = SharedScorer(ModelSettings(model=self.model))
        logits = candidates.logits_of_passages(scorer.score(candidates.pairs))
        scorer.close()
        return [(ranked.index, ranked.score) for ranked in rank_by_score(logits, **rules)]


class HaystackRun(PlainScorer):
    """`FrenchCrossEncoderRanker.run`."""

    def items(self, texts):
        return [HaystackDocument(content=text, id=str(position)) for position, text in enumerate(texts)]

    def rerank_items(self, query, items, **rules):
        ranker = FrenchCrossEncoderRanker(model=self.model, top_k=None)
        documents = self.run(ranker, query, items, rules)["documents"]
        ranker.close()
        return [(int(document.id), document.score) for document in documents]

    def run(self, ranker, query, documents, rules):
        return ranker.run(query, documents, **rules)


class HaystackRunAsync(HaystackRun):
    """`FrenchCrossEncoderRanker.run_async`."""

    def run(self, ranker, query, documents, rules):
        return asyncio.run(ranker.run_async(query, documents, **rules))


class LangChainCompress(PlainScorer):
    """`FrenchCrossEncoderReranker.compress_documents`."""

    def items(self, texts):
        return [LangChainDocument(page_content=text, id=str(position)) for position, text in enumerate(texts)]

    def rerank_items(self, query, items, top_k=None, **rules):
        reranker = FrenchCrossEncoderReranker(model=self.model, top_n=top_k, **rules)
        documents = self.compress(reranker, items, query)
        reranker.close()
        return [(int(document.id), document.metadata["relevance_score"]) for document in documents]

    def compress(self, reranker, documents, query):
        return reranker.compress_documents(documents, query)


class LangChainCompressAsync(LangChainCompress):
    """`FrenchCrossEncoderReranker.acompress_documents`."""

    def compress(self, reranker, documents, query):
        return asyncio.run(reranker.acompress_documents(documents, query))


class LangChainRerank(PlainScorer):
    """`FrenchCrossEncoderReranker.rerank`."""

    def rerank_items(self, query, items, top_k=None, **rules):
        reranker = FrenchCrossEncoderReranker(model=self.model, **rules)
        results = self.results(reranker, items, query, top_k)
        reranker.close()
        return [(result["index"], result["relevance_score"]) for result in results]

    def results(self, reranker, texts, query, top_k):
        return reranker.rerank(texts, query, top_n=top_k)


class LangChainRerankAsync(LangChainRerank):
    """`FrenchCrossEncoderReranker.arerank`."""

    def results(self, reranker, texts, query, top_k):
        return asyncio.run(reranker.arerank(texts, query, top_n=top_k))


DOORS = {
    "Haystack run": HaystackRun,
    "Haystack run_async": HaystackRunAsync,
    "LangChain compress_documents": LangChainCompress,
    "LangChain acompress_documents": LangChainCompressAsync,
    "LangChain rerank": LangChainRerank,
    "LangChain arerank": LangChainRerankAsync,
    "plain scorer": PlainScorer,
}
