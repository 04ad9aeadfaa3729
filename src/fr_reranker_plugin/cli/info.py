"""`fr-reranker info`: which model would run, where it lies, and with what."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fr_reranker_plugin.cli.model_options import ModelOptions, with_model_options
from fr_reranker_plugin.cli.printing import print_facts, print_json
from fr_reranker_plugin.errors import ModelLoadError, SettingsError
from fr_reranker_plugin.scoring.settings import EMBEDDED

if TYPE_CHECKING:
    from fr_reranker_plugin.scoring.settings import ModelSettings

_PACKAGES: Final = (
    "fr-reranker-plugin",
    "torch",
    "transformers",
    "tokenizers",
    "huggingface-hub",
    "haystack-ai",
    "langchain-core",
    "faiss-cpu",
    "faiss-gpu",
    "onnxruntime",
)


@with_model_options
def info(
    options: ModelOptions,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say which model would run, where it lies, and with what; asks no network and loads no weights.

    The exit code is 1 if the model cannot be used; 'problem' says why. A Hub model that is not cached yet is no
    problem: the first use fetches it.
    """
    import torch

    from fr_reranker_plugin.cli.scoring import silence_libraries
    from fr_reranker_plugin.evaluation.provenance import versions
    from fr_reranker_plugin.evaluation.published import published_figures
    from fr_reranker_plugin.scoring.loading import resolve_settings

    silence_libraries()
    settings = resolve_settings(options.model_settings())
    facts = {
        **_checkpoint_facts(settings),
        "device": settings.device,
        "dtype": settings.dtype,
        "backend": settings.backend,
        "max_batch_tokens": options.batch_settings().for_device(settings.device).max_batch_tokens,
        "threads": torch.get_num_threads(),
        "published": [asdict(figure) for figure in published_figures(settings.model)],
        "versions": {"python": platform.python_version(), **versions(_PACKAGES)},
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(_shown(facts))
    if facts["problem"] is not None:
        raise typer.Exit(1)


def _checkpoint_facts(settings: ModelSettings) -> dict[str, Any]:
    from fr_reranker_plugin.scoring.checkpoint import cached_snapshot, find_checkpoint
    from fr_reranker_plugin.scoring.cross_encoder import check_architecture
    from fr_reranker_plugin.scoring.loading import load_config
    from fr_reranker_plugin.scoring.tokenization import PairTokenizer

    source = _source_of(settings)
    facts: dict[str, Any] = {
        "model": settings.model,
        "revision": settings.pinned_revision,
        "source": source,
        **dict.fromkeys(("cached", "folder", "architecture", "max_length", "problem")),
    }
    try:
        folder = cached_snapshot(settings) if source == "hub" else find_checkpoint(settings)
        if source == "hub":
            facts["cached"] = folder is not None
        if folder is not None:
            facts["folder"] = str(folder)
            config = load_config(folder)
            facts["architecture"] = ", ".join(config.architectures or []) or config.model_type
            check_architecture(config, folder)
            facts["max_length"] = PairTokenizer.load(folder, config, max_length=settings.max_length).max_length
    except (ModelLoadError, SettingsError) as error:
        facts["problem"] = str(error)
    return facts


def _source_of(settings: ModelSettings) -> str:
    """Tell where the model comes from: embedded, a folder, or the Hub."""
    from fr_reranker_plugin.scoring.checkpoint import is_hub_name, local_folder

    if settings.model == EMBEDDED:
        return EMBEDDED
    return "hub" if local_folder(settings.model) is None and is_hub_name(settings.model) else "folder"


def _shown(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each fact that is known, what others published and the versions one by one at the end."""
    single = [(name, value) for name, value in facts.items() if name not in ("published", "versions")]
    published = [("published", line) for line in _published_lines(facts["published"])]
    for name, value in [*single, *published, *facts["versions"].items()]:
        if value is not None:
            yield name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _published_lines(figures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the figures of each test that a model was put to, with their source."""
    for protocol, group in groupby(figures, key=itemgetter("protocol")):
        of_one_test = list(group)
        values = ", ".join(f"{figure['measure']} {figure['value']:.2f}" for figure in of_one_test)
        first = of_one_test[0]
        caution = "" if first["comparable"] else ", not comparable with others"
        yield f"{values} ({protocol}: {first['description']}{caution}; {first['source']})"
