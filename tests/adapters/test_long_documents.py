"""Long documents in both frameworks: what is deep in a text is found, and where it stands is told."""

import json
import logging

import pytest
from haystack import Document as HaystackDocument
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document as LangChainDocument

from adapters.langchain_runs import Recorder
from adapters.test_haystack_tracing import RecordingTracer, tracer  # noqa: F401 -- a fixture
from checkpoints import SENTENCES
from engines import LengthEngine
from fr_reranker_plugin import BatchingScorer, SettingsError
from fr_reranker_plugin.collections import load_corpus
from fr_reranker_plugin.langchain import FrenchCrossEncoder, FrenchCrossEncoderReranker
from fr_reranker_plugin.scoring.scorer import Logits
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

QUERY = "Quelle démarche pour adopter un perroquet gris du Gabon ?"
ANSWER = (
    "Pour faire adopter un perroquet gris du Gabon, il faut déposer une demande d'autorisation de détention "
    "auprès de la préfecture."
)
LONG = " ".join(SENTENCES * 8)


@pytest.fixture(scope="module")
def long_texts(request):
    """Three French texts of 3,000 words; the second one ends with the answer."""
    corpus = load_corpus(request.config.rootpath / "examples" / "sample_collection" / "corpus.jsonl")
    words = " ".join(passage.text for passage in corpus.values()).split()
    texts = [" ".join(words[start : start + 3000]) for start in (0, 10_000, 20_000)]
    texts[1] = f"{' '.join(texts[1].split()[:2980])} {ANSWER}"
    return texts


def by_haystack(texts, **parameters):
    ranker = FrenchCrossEncoderRanker(model="embedded", top_k=None, **parameters)
    documents = [HaystackDocument(content=text, id=str(place)) for place, text in enumerate(texts)]
    ranked = ranker.run(QUERY, documents)["documents"]
    ranker.close()
    return [(int(document.id), document.score, document.meta) for document in ranked]


def by_langchain(texts, **parameters):
    reranker = FrenchCrossEncoderReranker(model="embedded", top_n=None, relevance_score_key="score", **parameters)
    documents = [LangChainDocument(page_content=text, metadata={"place": i}) for i, text in enumerate(texts)]
    ranked = reranker.compress_documents(documents, QUERY)
    reranker.close()
    return [(document.metadata["place"], document.metadata["score"], document.metadata) for document in ranked]


@pytest.mark.parametrize("rank", [by_haystack, by_langchain])
def test_what_stands_at_the_end_of_3000_words_is_found_in_windows_and_missed_without(long_texts, rank):
    [first, *others] = rank(long_texts, long_documents="max")
    position, score, metadata = first
    best = metadata["best_passage"]
    assert position == 1
    assert score > 0.5 > max(other[1] for other in others)
    assert ANSWER in best["text"]
    assert long_texts[1][best["start"] : best["end"]] == best["text"]
    assert best["end"] == len(long_texts[1])
    assert best["windows"] > 5

    truncated = {place: (score, metadata) for place, score, metadata in rank(long_texts)}
    assert truncated[1][0] < 0.5
    assert all("best_passage" not in metadata for _, metadata in truncated.values())


def test_offsets_are_those_of_the_content_where_metadata_and_prefixes_are_read_too(tiny_model):
    parameters = {"query_prefix": "q : ", "document_prefix": "« ", "document_suffix": " »", "max_length": 96}
    ranker = FrenchCrossEncoderRanker(
        model=tiny_model, meta_fields_to_embed=["title"], long_documents="max", window_overlap=16, **parameters
    )
    document = HaystackDocument(content=LONG, meta={"title": "Vie quotidienne", "page": 3})
    [ranked] = ranker.run(SENTENCES[4], [document])["documents"]
    reranker = FrenchCrossEncoderReranker(
        model=tiny_model, metadata_fields=["title"], long_documents="max", window_overlap=16, **parameters
    )
    [compressed] = reranker.compress_documents(
        [LangChainDocument(page_content=LONG, metadata=document.meta)], SENTENCES[4]
    )
    ranker.close()
    reranker.close()
    best = ranked.meta["best_passage"]
    assert LONG[best["start"] : best["end"]] == best["text"] != ""
    assert compressed.metadata["best_passage"] == best
    assert {**ranked.meta, "best_passage": None} == {"title": "Vie quotidienne", "page": 3, "best_passage": None}
    json.dumps(ranked.to_dict())


def test_a_best_window_within_the_metadata_covers_nothing_of_the_content(tiny_model):
    ranker = FrenchCrossEncoderRanker(
        model=tiny_model, meta_fields_to_embed=["title"], long_documents="max", max_windows=1, max_length=96
    )
    [ranked] = ranker.run("mairie", [HaystackDocument(content="fin", meta={"title": LONG})])["documents"]
    ranker.close()
    assert ranked.meta["best_passage"] == {"text": "", "start": 0, "end": 0, "windows": 1}


@pytest.mark.parametrize(("max_windows", "cut"), [(None, 0), (2, 1)])
def test_only_windows_that_are_not_read_are_reported(tiny_model, caplog, tracer, max_windows, cut):  # noqa: F811
    caplog.set_level(logging.INFO)
    settings = {"model": tiny_model, "max_length": 96, "long_documents": "max", "max_windows": max_windows}
    recorder = Recorder()
    ranker, reranker = FrenchCrossEncoderRanker(**settings), FrenchCrossEncoderReranker(**settings)
    with tracer.trace("test", {"haystack.component.name": "ranker"}):
        [long, _] = sorted(
            ranker.run("mairie", [HaystackDocument(content=text) for text in (LONG, "court")])["documents"],
            key=lambda document: -len(document.content),
        )
    reranker.compress_documents([LangChainDocument(LONG), LangChainDocument("court")], "mairie", callbacks=[recorder])
    ranker.close()
    reranker.close()
    windows = long.meta["best_passage"]["windows"]
    for tags in (tracer.of_ranker(), recorder.roots[0].extra["metadata"]):
        assert tags["fr_reranker.truncated"] == cut
        assert tags["fr_reranker.pairs"] == 2
        assert tags["fr_reranker.windows"] == windows + 1
    assert windows == (max_windows or windows) > 1
    told = [line.getMessage() for line in caplog.records if "were not read to their end" in line.getMessage()]
    assert told == ["1 of 2 documents were not read to their end"] * 2 * cut


@pytest.mark.parametrize("door", ["score", "ascore"])
async def test_the_langchain_cross_encoder_reads_long_texts_in_windows(tiny_model, door):
    pairs = [(SENTENCES[0], LONG), (SENTENCES[1], "court"), (SENTENCES[1], LONG)]
    plain, reading = (
        FrenchCrossEncoder(model=tiny_model, max_length=96, scale_score=False, long_documents=rule)
        for rule in ("truncate", "max")
    )
    windows = plain._shared_model().windows(pairs, overlap=64)
    best = [
        max(plain.score([(query, text[start:end]) for start, end in spans]))
        for (query, text), spans in zip(pairs, windows, strict=True)
    ]
    scores = getattr(reading, door)(pairs)
    assert (await scores if door == "ascore" else scores) == pytest.approx(best, abs=1e-4)
    assert type(reading.score(pairs)) is list
    compressor = CrossEncoderReranker(model=reading, top_n=1)
    assert compressor.compress_documents([LangChainDocument(LONG)], SENTENCES[0])[0].page_content == LONG
    plain.close()
    reading.close()


class Told:
    """A scorer that keeps what it is told beside the pairs."""

    def __init__(self):
        self.calls = []

    def score(self, pairs, **call):
        self.calls.append(call)
        return Logits(0.0 for _ in pairs)

    async def ascore(self, pairs, **call):
        return self.score(pairs, **call)


async def test_the_scorer_is_told_the_priority_and_the_timeout():
    scorer, documents = Told(), [LangChainDocument("a")]
    for made in (FrenchCrossEncoderReranker(scorer=scorer, priority="bulk", timeout=3.0),):
        made.compress_documents(documents, "q")
        await made.acompress_documents(documents, "q")
    encoder = FrenchCrossEncoder(scorer=scorer)
    encoder.score([("q", "a")])
    await encoder.ascore([("q", "a")])
    bulk, default = {"timeout": 3.0, "priority": "bulk"}, {"timeout": None, "priority": "interactive"}
    assert scorer.calls == [bulk, bulk, default, default]


@pytest.mark.parametrize("long_documents", ["truncate", "max"])
async def test_the_ranker_tells_the_shared_scorer_its_priority(tiny_model, monkeypatch, long_documents):
    told = []
    for door in ("score", "ascore"):
        kept = getattr(BatchingScorer, door)

        def noted(self, pairs, *, kept=kept, **call):
            told.append(call["priority"])
            return kept(self, pairs, **call)

        monkeypatch.setattr(BatchingScorer, door, noted)
    ranker = FrenchCrossEncoderRanker(model=tiny_model, priority="bulk", long_documents=long_documents)
    ranker.run("q", [HaystackDocument(content="a")])
    await ranker.run_async("q", [HaystackDocument(content="a")])
    ranker.close()
    assert told == ["bulk", "bulk"]


def test_a_scorer_that_cannot_cut_is_refused_with_what_to_do():
    reranker = FrenchCrossEncoderReranker(scorer=Told(), long_documents="max", raise_on_failure=False)
    with pytest.raises(SettingsError, match="long_documents='truncate'"):
        reranker.compress_documents([LangChainDocument("a")], "q")


def test_the_way_of_reading_may_be_changed_while_the_model_stays(tiny_model, loads):
    reranker = FrenchCrossEncoderReranker(model=tiny_model, max_length=96)
    before = reranker.compress_documents([LangChainDocument(LONG)], "mairie")
    reranker.long_documents = "max"
    after = reranker.compress_documents([LangChainDocument(LONG)], "mairie")
    reranker.close()
    assert "best_passage" not in before[0].metadata
    assert after[0].metadata["best_passage"]["windows"] > 1
    assert len(loads) == 1


def test_an_injected_batching_scorer_whose_engine_cuts_is_enough():
    class Halves(LengthEngine):
        def windows(self, pairs, *, overlap):
            return [[(0, len(text) // 2), (len(text) // 2, len(text))] if text else [(0, 0)] for _, text in pairs]

    with BatchingScorer(Halves()) as scorer:
        reranker = FrenchCrossEncoderReranker(scorer=scorer, long_documents="max", scale_score=False)
        [document] = reranker.compress_documents([LangChainDocument("aabbb")], "q")
    assert document.metadata == {
        "relevance_score": 3.0,
        "best_passage": {"text": "bbb", "start": 2, "end": 5, "windows": 2},
    }
