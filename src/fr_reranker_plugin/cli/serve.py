"""`fr-reranker serve`: one scorer for many processes and machines, over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fr_reranker_plugin.cli.long_documents import LongDocumentsOption, LongPassages, WindowOverlapOption
from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import note


@with_model_options
def serve(  # noqa: PLR0913 -- each parameter is an option of the command
    options: ModelOptions,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    index: Annotated[Path | None, typer.Option(help="The folder of an index, for /retrieve and the page at /.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Search the sample collection instead of an index.")] = False,
    keys_file: Annotated[Path | None, typer.Option(help="API keys, one a line.")] = None,
    max_texts: Annotated[int, typer.Option(min=1, help="Most texts of one request.")] = 1000,
    max_body_mib: Annotated[int, typer.Option(min=1, help="Longest body of one request, in MiB.")] = 4,
    max_waiting_pairs: Annotated[
        int, typer.Option(min=1, help="A request that finds more pairs waiting is refused (429).")
    ] = 4096,
    request_timeout: Annotated[float, typer.Option(help="Seconds until an answer is of no use.")] = 300.0,
    grace_period: Annotated[float, typer.Option(help="Seconds for answers after the signal to stop.")] = 30.0,
    long_documents: LongDocumentsOption = LongPassages.TRUNCATE,
    window_overlap: WindowOverlapOption = 64,
) -> None:
    """Answer over HTTP, in the shapes of text-embeddings-inference, Jina and Cohere, until told to stop.

    API keys are read from a file, or from the environment variable FR_RERANKER_API_KEYS; without any, everyone may ask.
    Logs are JSON lines on standard error. SIGTERM ends the server when everything accepted is answered.
    """
    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.scoring.shared import SharedScorer
    from fr_reranker_plugin.serving import ApiKeys, ServerSettings, create_app
    from fr_reranker_plugin.serving.logs import log_as_json
    from fr_reranker_plugin.serving.server import Server

    keys = ApiKeys.from_environment() if keys_file is None else ApiKeys.from_file(keys_file)
    settings = ServerSettings(
        max_texts=max_texts,
        max_body_bytes=max_body_mib << 20,
        request_timeout=request_timeout,
        grace_period=grace_period,
        keys=keys,
        long_documents=long_documents.value,
        window_overlap=window_overlap,
    )
    silence_libraries()
    batch = replace(options.batch_settings(), max_waiting_pairs=max_waiting_pairs)
    app = create_app(SharedScorer(options.model_settings(), batch), settings, index=index, sample=sample)
    log_as_json()  # not sooner: what was wrongly asked for is said in one plain line
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        note(f"everyone who reaches {host} may ask; give keys with --keys-file or FR_RERANKER_API_KEYS")
    try:
        Server(app, host=host, port=port).run()
    except SystemExit as end:  # uvicorn has logged why it cannot listen
        raise typer.Exit(1) from end
    failure = app.state.door.readiness.failure
    if failure is not None:
        raise failure
