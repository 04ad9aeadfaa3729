"""Training examples from a judged collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fr_reranker_plugin.collections import JudgedCollection
from fr_reranker_plugin.errors import CollectionError
from fr_reranker_plugin.scoring.settings import check_whole_number
from fr_reranker_plugin.training.example_counts import ExampleCounts
from fr_reranker_plugin.training.examples import TrainingExample


def judged_examples(
    collection: JudgedCollection, counts: ExampleCounts, *, relevant_from: int = 1
) -> Iterator[TrainingExample]:
    """Yield an example for each query: its relevant passages with label 1, and those of grade 0 with label 0.

    Passages are read as the models read them, a title on a line of its own before the text. Only judged ones are held.
    Grades between 0 and `relevant_from` teach neither, and are left out, as are blank passages and queries without a
    relevant passage.

    :param counts: Filled while examples are made.
    :param relevant_from: The lowest grade that is relevant.
    :raises CollectionError: If a judged passage is not in the collection.
    :raises SettingsError: If `relevant_from` is below 1.
    """
    check_whole_number("relevant_from", relevant_from)
    texts = _judged_texts(collection)
    for query, grades in collection.qrels.items():
        example = _example(collection.queries[query], grades, texts, relevant_from)
        if example is None:
            counts.left_out["queries without a relevant passage, or without text"] += 1
        else:
            counts.add(example)
            yield example


def _judged_texts(collection: JudgedCollection) -> dict[str, str]:
    judged = {passage for grades in collection.qrels.values() for passage in grades}
    texts = {name: passage.full_text for name, passage in collection.passages() if name in judged}
    if absent := judged - texts.keys():
        raise CollectionError(f"{collection.name}: expected all judged passages, found no text of {min(absent)!r}")
    return texts


def _example(
    query: str, grades: Mapping[str, int], texts: Mapping[str, str], relevant_from: int
) -> TrainingExample | None:
    labels = {
        texts[passage]: 1.0 if grade >= relevant_from else 0.0
        for passage, grade in sorted(grades.items(), key=lambda judged: judged[1])  # the higher grade of equal texts
        if texts[passage].strip() and (grade <= 0 or grade >= relevant_from)
    }
    ordered = sorted(labels, key=labels.__getitem__, reverse=True)
    if not query.strip() or not ordered or not labels[ordered[0]]:
        return None
    return TrainingExample(query, tuple(ordered), tuple(labels[text] for text in ordered))
