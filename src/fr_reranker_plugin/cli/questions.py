"""`fr-reranker train-data questions`: have a chat model write questions to passages."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Annotated

import typer

from fr_reranker_plugin.cli.printing import note
from fr_reranker_plugin.errors import CollectionError


def questions(  # noqa: PLR0913 -- each parameter is an option of the command
    sources: Annotated[list[str], typer.Argument(help="Documents, as 'fr-reranker index' reads them.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write: .jsonl, or .jsonl.gz to pack it.")],
    base_url: Annotated[str, typer.Option(help="The endpoint, like http://localhost:8000/v1; it gets the passages.")],
    chat_model: Annotated[str, typer.Option(help="The chat model's name there.")],
    per_passage: Annotated[int, typer.Option(min=1, help="Questions to each passage.")] = 2,
    passages: Annotated[int, typer.Option(min=1, help="How many passages are drawn at most.")] = 500,
    passage_words: Annotated[int, typer.Option(min=1, help="Longest passage cut out of texts.")] = 120,
    temperature: Annotated[float, typer.Option(min=0, help="How varied the questions are.")] = 0.7,
    workers: Annotated[int, typer.Option(min=1, help="Passages under way together.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the draw, and sent along.")] = 42,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Have a chat model write questions to passages, through any OpenAI-compatible endpoint.

    The passages leave this machine for the address you name; nothing is sent anywhere else. A key is read from the
    environment variable OPENAI_API_KEY. Interrupted, the same command goes on; no passage is sent twice. Add negatives
    with 'fr-reranker train-data mine', and evaluate on questions of people.
    """
    from fr_reranker_plugin.cli.documents import SourceDocuments
    from fr_reranker_plugin.cli.evaluate_run import show_bar
    from fr_reranker_plugin.training.chat_endpoint import ChatEndpoint
    from fr_reranker_plugin.training.examples import check_output, write_examples
    from fr_reranker_plugin.training.questions import KeptAnswers, question_examples

    check_output(out, force=force)
    endpoint = ChatEndpoint(
        base_url=base_url,
        model=chat_model,
        key=os.environ.get("OPENAI_API_KEY", "").strip() or None,
        temperature=temperature,
        seed=seed,
    )
    texts = list(dict.fromkeys(document.text for document in SourceDocuments(sources, words=passage_words)))
    if not texts:
        raise CollectionError(f"no passages in {', '.join(sources)}; nothing to ask about")
    drawn = random.Random(seed).sample(texts, min(passages, len(texts)))  # noqa: S311 -- not a secret
    note(f"sending {len(drawn)} of {len(texts)} passages to {base_url}")
    kept = KeptAnswers(out.with_name(f"{out.name}.answers"), endpoint.identity)
    with show_bar("asking", len(drawn)) as advance:

        def ask(prompt: str) -> str:
            answer = endpoint.answer(prompt)
            advance(1)
            return answer

        made = question_examples(drawn, ask, kept, per_passage=per_passage, workers=workers)
        count = write_examples(out, made, force=force)
    kept.remove()
    print(f"{count:,} questions to {len(drawn):,} passages are in {out}")
