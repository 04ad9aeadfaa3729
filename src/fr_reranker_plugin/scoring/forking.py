"""What a forked child must make anew: threads stay with the parent, and one may have held a lock."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork_in_child(renew: Callable[[], None]) -> None:
    """Have `renew` called in every child that is forked from this process; Windows has no fork, and nothing to do."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
