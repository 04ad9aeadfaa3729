"""How the token budget of one batch changes the speed: the sweep that a GPU's default is chosen by."""

from __future__ import annotations

import statistics
from typing import Any, Final

from benchmarks.contenders import Contender
from benchmarks.ours import Ours
from benchmarks.rounds import one_after_another
from benchmarks.session import Session, say

_BUDGETS: Final = {"cpu": (256, 512, 1024, 2048, 4096, 8192), "cuda": (2048, 4096, 8192, 16384, 32768, 65536)}
_SHARE_OF_W1: Final = 4


def run(session: Session) -> None:
    """Measure the first variant of ours with each budget on a part of W1, and note the peak of memory on a GPU."""
    contender = next((one for one in session.contenders("one") if one.is_ours), None)
    if contender is None:
        return
    budgets = _BUDGETS["cuda" if session.device.startswith("cuda") else "cpu"]
    try:
        found = {str(budget): _speed(session, contender, budget) for budget in budgets}
    except Exception as error:  # noqa: BLE001 -- the variant may be refused here; the run goes on
        session.note(contender, "not loaded", error)
        return
    session.findings["sweep"] = {"contender": contender.name, "budgets": found}
    session.save()


def _speed(session: Session, contender: Contender, budget: int) -> dict[str, Any]:
    scoring = Ours(str(session.folder), device=session.device, max_batch_tokens=budget, **contender.options)
    try:
        asked = session.workloads.bulk(max(40, session.sizes.w1 // _SHARE_OF_W1))
        scoring.score(asked.pairs[:24])
        _reset_peak(session.device)
        seconds = [one_after_another(scoring.score, asked.requests).seconds for _ in range(3)]
    finally:
        scoring.close()
    found = {"pairs_per_second": len(asked.lengths) / statistics.median(seconds), "seconds": seconds,
             "peak_gpu_bytes": _peak(session.device)}  # fmt: skip
    say(f"budget {budget}: {found['pairs_per_second']:.1f} pairs/s")
    return found


def _reset_peak(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(torch.device(device))


def _peak(device: str) -> int | None:
    import torch

    return torch.cuda.max_memory_allocated(torch.device(device)) if device.startswith("cuda") else None
