"""Show a rerank step in traces: a retriever run under the run that the callbacks belong to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import langchain_core.tracers.langchain  # noqa: F401 -- the first `configure` would load it, on the event loop
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, Callbacks
from langchain_core.documents import Document


@dataclass(slots=True)
class Outcome:
    """What a rerank step gave, for its trace; the step fills it in."""

    documents: list[Document] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


@contextmanager
def traced(callbacks: Callbacks, query: str, *, name: str, metadata: dict[str, Any]) -> Iterator[Outcome]:
    """Report a step to the callbacks: its start, and its documents or its error."""
    manager = CallbackManager.configure(inheritable_callbacks=callbacks, local_metadata=metadata)
    run = manager.on_retriever_start(None, query, name=name)
    outcome = Outcome()
    try:
        yield outcome
    except BaseException as error:
        run.on_retriever_error(error)
        raise
    run.metadata.update(outcome.metadata)
    run.on_retriever_end(outcome.documents)


@asynccontextmanager
async def atraced(callbacks: Callbacks, query: str, *, name: str, metadata: dict[str, Any]) -> AsyncIterator[Outcome]:
    """Report a step to the callbacks, as `traced` does; a cancelled step is reported as an error."""
    manager = AsyncCallbackManager.configure(inheritable_callbacks=callbacks, local_metadata=metadata)
    run = await manager.on_retriever_start(None, query, name=name)
    outcome = Outcome()
    try:
        yield outcome
    except BaseException as error:
        await run.on_retriever_error(error)
        raise
    run.metadata.update(outcome.metadata)
    await run.on_retriever_end(outcome.documents)
