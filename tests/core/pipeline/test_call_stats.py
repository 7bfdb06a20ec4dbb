"""Timings and counts of calls of AsyncLLM."""

import asyncio

from millpond import AsyncLLM
from millpond.pipeline.call_stats import CallStats, current_stats
from millpond.testing.checkpoints import tiny


def test_timings_and_counts_of_calls_add_up(tmp_path):
    async def main():
        async with AsyncLLM(str(tiny("BertModel", tmp_path / "bert")), num_workers=1) as llm:
            stats = CallStats()
            current_stats.set(stats)
            await llm.embed(["a boat", "a boat", "the sea"])
            first = CallStats(**vars(stats))
            await asyncio.create_task(llm.embed("a cat and a dog", truncate_prompt_tokens=3))
            return first, stats

    first, both = asyncio.run(main())
    assert (first.prompts, first.duplicates, first.truncated) == (3, 1, 0)
    assert (both.prompts, both.duplicates, both.truncated) == (4, 1, 1)
    assert both.tokens == first.tokens + 3
    assert first.tokens == 12
    for name in ("tokenise_seconds", "queue_seconds", "compute_seconds", "finish_seconds"):
        assert 0 <= getattr(first, name) <= getattr(both, name) < 60
    assert first.compute_seconds > 0
