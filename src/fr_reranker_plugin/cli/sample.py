"""Where the French sample collection lies."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fr_reranker_plugin.errors import CollectionError

_NAME: Final = "sample_collection"


def sample_folder() -> Path:
    """Give the BEIR folder of the sample collection: inside an installed package, or in the repository's examples.

    :raises CollectionError: If it is in neither place.
    """
    package = Path(str(files("fr_reranker_plugin")))
    places = [package / _NAME, package.parent.parent / "examples" / _NAME]
    for place in places:
        if (place / "corpus.jsonl").is_file():
            return place
    looked = " and ".join(map(str, places))
    raise CollectionError(f"this installation has no sample collection (looked at {looked}); install the wheel again")
