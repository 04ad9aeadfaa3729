"""Every door to the scorer as one function: from a query and texts to (position, score) of the texts it keeps.

A door may be made to read long documents in windows; `passages` then gives (position, score, best passage).
"""

import asyncio

from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import RunnableLambda

from adapters.haystack_documents import Document as HaystackDocument
from adapters.haystack_documents import FrenchCrossEncoderRanker
from fr_reranker_plugin import Calibration, LongDocumentScorer, ModelSettings, SharedScorer
from fr_reranker_plugin.langchain import FrenchCrossEncoderReranker, FrenchRerankRetriever
from fr_reranker_plugin.scoring.long_documents import window_settings
from fr_reranker_plugin.scoring.ranking import TextForm
from fr_reranker_plugin.scoring.ranking_task import RankingRules, RankingTask


class PlainScorer:
    """The scorer with the pure functions around it, and no framework."""

    def __init__(
        self, model, *, max_length=None, long_documents="truncate", window_overlap=64, max_windows=None,
        calibration=None,
    ):  # fmt: skip
        self.model = model
        self.place = {"model": model}
        self.max_length = max_length
        self.calibration = calibration
        self.windows = {
            "long_documents": long_documents, "window_overlap": window_overlap, "max_windows": max_windows,
        }  # fmt: skip

    def items(self, texts):
        """Give the texts in the form that this door takes, each with its position."""
        return list(texts)

    def rerank(self, query, texts, **rules):
        return self.rerank_items(query, self.items(texts), **rules)

    def rerank_items(self, query, items, **rules):
        return [(position, score) for position, score, _ in self.passages(query, items, **rules)]

    def passages(self, query, items, *, top_k=None, score_threshold=None, scale_score=True):
        rules = RankingRules(
            form=TextForm(), fields=(), deduplicate=False, top_k=top_k, score_threshold=score_threshold,
            scale_score=scale_score,
            calibration=None if self.calibration is None else Calibration.load(self.calibration),
        )  # fmt: skip
        task = RankingTask(query, [({}, text) for text in items], rules)
        scorer = SharedScorer(ModelSettings(model=self.model, max_length=self.max_length))
        windows = window_settings(
            self.windows["long_documents"],
            overlap=self.windows["window_overlap"],
            max_windows=self.windows["max_windows"],
        )
        logits = (scorer if windows is None else LongDocumentScorer(scorer, windows)).score(task.pairs)
        scorer.close()
        return [(ranked.index, ranked.score, ranked.best_passage) for ranked in task.ranked(logits)]


class HaystackRun(PlainScorer):
    """`FrenchCrossEncoderRanker.run`."""

    def items(self, texts):
        return [HaystackDocument(content=text, id=str(position)) for position, text in enumerate(texts)]

    def passages(self, query, items, **rules):
        ranker = FrenchCrossEncoderRanker(
            top_k=None, max_length=self.max_length, calibration=self.calibration, **self.windows, **self.place
        )
        documents = self.run(ranker, query, items, rules)["documents"]
        ranker.close()
        return [(int(document.id), document.score, document.meta.get("best_passage")) for document in documents]

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

    def passages(self, query, items, top_k=None, **rules):
        reranker = FrenchCrossEncoderReranker(
            top_n=top_k, max_length=self.max_length, calibration=self.calibration,
            **self.windows, **rules, **self.place,
        )  # fmt: skip
        documents = self.compress(reranker, items, query)
        reranker.close()
        return [
            (int(document.id), document.metadata["relevance_score"], document.metadata.get("best_passage"))
            for document in documents
        ]

    def compress(self, reranker, documents, query):
        return reranker.compress_documents(documents, query)


class LangChainCompressAsync(LangChainCompress):
    """`FrenchCrossEncoderReranker.acompress_documents`."""

    def compress(self, reranker, documents, query):
        return asyncio.run(reranker.acompress_documents(documents, query))


class LangChainRetriever(LangChainCompress):
    """`FrenchRerankRetriever.invoke`, behind a first stage that finds these documents for any query."""

    def compress(self, reranker, documents, query):
        return self.retriever(reranker, documents).invoke(query)

    def retriever(self, reranker, documents):
        first_stage = RunnableLambda(lambda _: list(documents))
        return FrenchRerankRetriever(first_stage=first_stage, reranker=reranker, candidates=len(documents) + 1)


class LangChainRetrieverAsync(LangChainRetriever):
    """`FrenchRerankRetriever.ainvoke`."""

    def compress(self, reranker, documents, query):
        return asyncio.run(self.retriever(reranker, documents).ainvoke(query))


class LangChainRerank(PlainScorer):
    """`FrenchCrossEncoderReranker.rerank`."""

    def passages(self, query, items, top_k=None, **rules):
        reranker = FrenchCrossEncoderReranker(
            max_length=self.max_length, calibration=self.calibration, **self.windows, **rules, **self.place
        )
        results = self.results(reranker, items, query, top_k)
        reranker.close()
        return [(result["index"], result["relevance_score"], result.get("best_passage")) for result in results]

    def results(self, reranker, texts, query, top_k):
        return reranker.rerank(texts, query, top_n=top_k)


class LangChainRerankAsync(LangChainRerank):
    """`FrenchCrossEncoderReranker.arerank`."""

    def results(self, reranker, texts, query, top_k):
        return asyncio.run(reranker.arerank(texts, query, top_n=top_k))


class RemoteHaystackRunAsync(HaystackRunAsync):
    """`FrenchCrossEncoderRanker.run_async` with a server that has the model.

    :param url: Of the server.
    """

    def __init__(self, url):
        super().__init__("embedded")
        self.place = {"remote_url": url}


class RemoteLangChainCompress(LangChainCompress):
    """`FrenchCrossEncoderReranker.compress_documents` with a server that has the model."""

    def __init__(self, url):
        super().__init__("embedded")
        self.place = {"remote_url": url}


DOORS = {
    "Haystack run": HaystackRun,
    "Haystack run_async": HaystackRunAsync,
    "LangChain compress_documents": LangChainCompress,
    "LangChain acompress_documents": LangChainCompressAsync,
    "LangChain retriever invoke": LangChainRetriever,
    "LangChain retriever ainvoke": LangChainRetrieverAsync,
    "LangChain rerank": LangChainRerank,
    "LangChain arerank": LangChainRerankAsync,
    "plain scorer": PlainScorer,
}

REMOTE_DOORS = {
    "Haystack run_async on a server": RemoteHaystackRunAsync,
    "LangChain compress_documents on a server": RemoteLangChainCompress,
}
"""Doors that are made with the address of a server instead of a model."""
