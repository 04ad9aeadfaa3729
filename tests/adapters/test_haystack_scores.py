import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from haystack import Document
from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker
from sentence_transformers import CrossEncoder as SentenceTransformersCrossEncoder
from torch.nn import Identity, Sigmoid

from adapters.haystack_documents import QUESTION, TIMEOUT, french_documents, many_documents, scores_by_id
from checkpoints import SENTENCES
from fr_reranker_plugin import CrossEncoder
from haystack_integrations.components.rankers.fr_reranker import FrenchCrossEncoderRanker

ODD_TEXTS = ["a", "é" * 700, "🙂 émoji", "deux\nlignes\t", "mot " * 900, "1 500 € l'été, aujourd'hui"]


@pytest.fixture
def ranker(tiny_model: str):
    ranker = FrenchCrossEncoderRanker(model=tiny_model, top_k=None)
    yield ranker
    ranker.close()


@pytest.mark.parametrize("family", ["xlm-roberta", "camembert", "bert"])
@pytest.mark.parametrize(("scale_score", "activation"), [(True, Sigmoid()), (False, Identity())])
def test_scores_are_those_of_sentence_transformers(
    checkpoint_of: Callable[[str], Path], family: str, scale_score: bool, activation: Sigmoid | Identity
) -> None:
    model = str(checkpoint_of(family))
    documents = [Document(id=str(number), content=text) for number, text in enumerate([*SENTENCES, *ODD_TEXTS])]
    theirs = SentenceTransformersCrossEncoder(model, device="cpu", max_length=512)
    expected = theirs.predict([(QUESTION, document.content) for document in documents], activation_fn=activation)
    ranker = FrenchCrossEncoderRanker(model=model, top_k=None, scale_score=scale_score)
    scores = scores_by_id(ranker.run(QUESTION, documents)["documents"])
    tolerance = 1e-5 if scale_score else 1e-4  # probabilities, logits
    assert [scores[document.id] for document in documents] == pytest.approx(expected.tolist(), abs=tolerance)
    assert {type(score) for score in scores.values()} == {float}
    ranker.close()


@pytest.mark.filterwarnings("ignore:.*convert_to_numpy.*")  # their ranker passes an argument that ST 6 deprecates
def test_the_texts_that_are_read_are_those_of_the_sentence_transformers_ranker(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [
        Document(
            content=sentence, meta={"year": number % 2, "law": False, "title": None if number % 3 else f"T{number}"}
        )
        for number, sentence in enumerate(SENTENCES)
    ]
    options = {
        "model": tiny_model,
        "query_prefix": "question : ",
        "query_suffix": " ?!",
        "document_prefix": "passage : ",
        "document_suffix": " (fin)",
        "meta_fields_to_embed": ["title", "year", "missing", "law"],
        "embedding_separator": " | ",
        "scale_score": False,
    }
    read: list[tuple[str, str]] = []
    encode = CrossEncoder.encode
    monkeypatch.setattr(CrossEncoder, "encode", lambda self, pairs: read.extend(pairs) or encode(self, pairs))
    ranker = FrenchCrossEncoderRanker(**options)
    ranker.warm_up()
    read.clear()
    ours = ranker.run(QUESTION, documents)["documents"]
    theirs = SentenceTransformersSimilarityRanker(**options).run(query=QUESTION, documents=documents)["documents"]
    assert [document.id for document in ours] == [document.id for document in theirs]
    assert [document.score for document in ours] == pytest.approx([document.score for document in theirs], abs=1e-5)
    assert read[1] == (f"question : {QUESTION} ?!", f"passage : 1 | False | {SENTENCES[1]} (fin)")
    assert read[3] == (f"question : {QUESTION} ?!", f"passage : T3 | 1 | False | {SENTENCES[3]} (fin)")
    ranker.close()


def test_a_text_that_stands_twice_is_scored_once(ranker: FrenchCrossEncoderRanker, monkeypatch) -> None:
    ranker.warm_up()
    read: list[tuple[str, str]] = []
    encode = CrossEncoder.encode
    monkeypatch.setattr(CrossEncoder, "encode", lambda self, pairs: read.extend(pairs) or encode(self, pairs))
    twins = [Document(id=str(number), content="Le même texte.") for number in range(5)]
    assert len({document.score for document in ranker.run(QUESTION, twins)["documents"]}) == 1
    assert len(read) == 1


def test_a_score_depends_on_neither_batch_nor_neighbours_nor_order(
    ranker: FrenchCrossEncoderRanker, tiny_model: str
) -> None:
    documents = [*many_documents(40), Document(id="long", content="mot " * 600)]
    together = scores_by_id(ranker.run(QUESTION, documents)["documents"])
    alone = {d.id: ranker.run(QUESTION, [d])["documents"][0].score for d in documents}
    shuffled = random.Random(7).sample(documents, len(documents))
    other = FrenchCrossEncoderRanker(model=tiny_model, top_k=None, max_length=511, batch_size=3, max_batch_tokens=700)
    assert alone == pytest.approx(together, abs=1e-4)
    assert scores_by_id(ranker.run(QUESTION, shuffled)["documents"]) == pytest.approx(together, abs=1e-4)
    small_batches = scores_by_id(other.run(QUESTION, documents[:-1])["documents"])
    assert small_batches == pytest.approx({d: s for d, s in together.items() if d != "long"}, abs=1e-4)
    other.close()


def test_rankers_of_different_lengths_do_not_disturb_each_other(tiny_model: str) -> None:
    documents = many_documents(12, words=80)
    rankers = [
        FrenchCrossEncoderRanker(model=tiny_model, max_length=length, top_k=None) for length in (32, 64, 96, 128)
    ]
    serial = [scores_by_id(ranker.run(QUESTION, documents)["documents"]) for ranker in rankers]
    assert len({tuple(scores.values()) for scores in serial}) == 4

    def rank(number: int) -> tuple[int, dict[str, float]]:
        return number % 4, scores_by_id(rankers[number % 4].run(QUESTION, documents)["documents"])

    with ThreadPoolExecutor(8) as pool:
        for number, scores in pool.map(rank, range(80), timeout=TIMEOUT):
            assert scores == pytest.approx(serial[number], abs=1e-4)
    for ranker in rankers:
        ranker.close()


def test_thirty_two_threads_get_the_serial_answers(ranker: FrenchCrossEncoderRanker) -> None:
    documents = many_documents(30)
    questions = [f"{QUESTION} {number}" for number in range(8)]
    slices = [documents[start : start + 5] for start in range(0, 30, 5)]
    calls = [(question, part) for question in questions for part in slices]
    serial = [scores_by_id(ranker.run(*call)["documents"]) for call in calls]
    with ThreadPoolExecutor(32) as pool:
        answers = pool.map(lambda number: ranker.run(*calls[number % len(calls)]), range(640), timeout=TIMEOUT)
        for number, answer in enumerate(answers):
            assert scores_by_id(answer["documents"]) == pytest.approx(serial[number % len(calls)], abs=1e-4)


def test_a_long_document_is_cut_at_its_end_and_the_question_stays_whole(ranker: FrenchCrossEncoderRanker) -> None:
    start = "La plainte se dépose au commissariat. " * 100
    [cut] = ranker.run(QUESTION, [Document(content=start + "Fin.")])["documents"]
    [cut_elsewhere] = ranker.run(QUESTION, [Document(content=start + "Une autre fin.")])["documents"]
    assert cut.score == pytest.approx(cut_elsewhere.score, abs=1e-6)
    [other_question] = ranker.run(QUESTION + " Vite", [Document(content=start)])["documents"]
    assert other_question.score != pytest.approx(cut.score, abs=1e-6)


def test_of_two_texts_that_are_too_long_together_the_longer_is_cut_first(ranker: FrenchCrossEncoderRanker) -> None:
    long_question = "porter plainte " * 400
    short = Document(content="Au commissariat.")
    [first] = ranker.run(long_question + "hier", [short])["documents"]
    [second] = ranker.run(long_question + "demain", [short])["documents"]
    assert first.score == pytest.approx(second.score, abs=1e-6)
    [other] = ranker.run(long_question, [Document(content="À la gendarmerie.")])["documents"]
    assert other.score != pytest.approx(first.score, abs=1e-6)


def test_cut_documents_are_counted_in_the_log_once_as_a_warning(
    tiny_model: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="haystack_integrations")
    ranker = FrenchCrossEncoderRanker(model=tiny_model, max_length=200)
    documents = [*french_documents()[:2], Document(content="mot " * 300), Document(id="twin", content="mot " * 300)]
    for _ in range(2):
        ranker.run(QUESTION, documents)
    lines = [
        (record.levelname, record.getMessage()) for record in caplog.records if "were not read" in record.getMessage()
    ]
    assert [level for level, _ in lines] == ["WARNING", "INFO"]
    assert all("2 of 4 documents were not read" in line for _, line in lines)
    ranker.close()
