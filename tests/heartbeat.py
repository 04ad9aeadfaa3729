"""How long an event loop is held up: the largest gap between the wake-ups of a task that sleeps 5 ms at a time."""

import asyncio
from time import perf_counter

PAUSE = 0.005


async def largest_gap_during(work):
    """Await `work` and give its result and the largest gap in seconds between two wake-ups meanwhile."""
    gaps = []

    async def beat():
        last = perf_counter()
        while True:
            await asyncio.sleep(PAUSE)
            now = perf_counter()
            gaps.append(now - last)
            last = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(4 * PAUSE)
    try:
        result = await work
        await asyncio.sleep(4 * PAUSE)
    finally:
        heart.cancel()
    return result, max(gaps)


async def nothing():
    """Do nothing."""


async def assert_loop_stays_free(make_work, *, after=nothing, limit=0.050, tries=3):
    """Await `make_work()` and assert that it never held up the loop for `limit` seconds more than idling does.

    A machine that is busy with other things holds up any loop, so the same loop is measured just before while it
    waits for nothing, and one quiet try out of `tries` is enough.

    :param after: Awaited after each try, unmeasured.
    :returns: The result of the last try.
    """
    gaps = []
    for _ in range(tries):
        _, idle = await largest_gap_during(asyncio.sleep(0.1))
        result, busy = await largest_gap_during(make_work())
        await after()
        gaps.append((idle, busy))
        if busy < idle + limit:
            return result
    raise AssertionError(f"(idle, busy) gaps in seconds, of {tries} tries: {gaps}")
