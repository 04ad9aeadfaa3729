"""Several blocks are under way together; who stops does not wait for them."""

import asyncio
from collections.abc import Iterator

import pytest

from engines import TIMEOUT, LengthEngine
from fr_reranker_plugin import BatchSettings, ScoringError
from fr_reranker_plugin.scoring.batching import BatchingScorer
from fr_reranker_plugin.scoring.in_flight import under_way
from fr_reranker_plugin.scoring.row_scoring import score_bulk


async def squared(number: int) -> int:
    await asyncio.sleep(0)
    return number**2


@pytest.mark.parametrize("most", [1, 2, 5])
def test_items_come_back_in_order_and_no_more_than_the_bound_are_taken_ahead(most: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(7):
            taken.append(number)
            yield number

    for done, found in enumerate(under_way(items(), squared, most=most)):
        assert found == (done, done**2)
        assert len(taken) <= done + most
    assert len(taken) == 7


def test_an_error_ends_the_work_that_is_under_way_beside_it() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waits_or_fails(item: str) -> None:
        if item == "fails":
            await begun.wait()
            raise ScoringError(item)
        begun.set()
        try:
            await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(ScoringError, match="fails"):
        list(under_way(["fails", "waits"], waits_or_fails, most=2))
    assert cancelled.is_set()


async def test_it_may_be_used_where_an_event_loop_runs() -> None:
    assert list(under_way([2, 3], squared, most=2)) == [(2, 4), (3, 9)]


def test_what_a_closed_generator_had_under_way_is_not_scored(gated) -> None:
    class OneGated(LengthEngine):
        def forward(self, batch):
            logits = super().forward(batch)
            if logits != [1.0]:
                gated.started.set()
                assert gated.gate.wait(TIMEOUT)
            return logits

    engine = OneGated()
    with BatchingScorer([engine], BatchSettings(max_batch_size=1)) as scorer:
        blocks = [[("q", "a")], [("q", "b" * length) for length in range(2, 9)]]
        found = under_way(blocks, lambda block: score_bulk(scorer, block), most=2)
        assert next(found) == (blocks[0], [1.0])
        assert gated.started.wait(TIMEOUT)
        found.close()
        gated.gate.set()
    assert len(engine.batches) == 2
