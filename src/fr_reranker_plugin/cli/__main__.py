"""`python -m fr_reranker_plugin.cli`: the same as `fr-reranker`, for launchers of modules such as accelerate's."""

from __future__ import annotations

import sys

from fr_reranker_plugin.cli import main

sys.exit(main())
