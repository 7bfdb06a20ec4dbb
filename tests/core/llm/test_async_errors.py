"""AsyncLLM: invalid prompts, failing inputs and overload."""

import asyncio

import pytest
from async_kit import TEXTS, check, held

from millpond.types.errors import EngineError, EngineOverloadedError, InvalidInputError

POISON = 5  # a token id that no text in these tests has


def test_the_first_bad_prompt_is_raised_before_anything_is_computed(make, watched):
    seen = []
    watched.watch(seen.append)

    async def main():
        await make().embed(["a", "\ud800", "b"])

    with pytest.raises(InvalidInputError, match="prompt 1: the text has a lone surrogate"):
        asyncio.run(main())
    assert seen == []


def test_an_invalid_prompt_is_returned_with_the_results_of_the_others(make, expected):
    async def main():
        return await make().embed([*TEXTS[:3], "\ud800", *TEXTS[3:5]], on_error="return")

    outputs = asyncio.run(main())
    assert [output.error is None for output in outputs] == [True] * 3 + [False] + [True] * 2
    assert outputs[3].outputs is None
    assert outputs[3].error.index == 3
    check(outputs[:3] + outputs[4:], TEXTS[:5], expected)


def test_a_call_with_only_invalid_prompts_returns(make):
    async def main():
        return await make().embed(["\ud800", "\udfff"], on_error="return")

    assert [output.error.index for output in asyncio.run(main())] == [0, 1]


def test_a_failing_prompt_is_raised_or_returned_and_does_not_affect_other_calls(make, watched, kit, expected):
    watched.watch(kit.fails_on(POISON))

    async def main():
        llm = make()
        bad = [[7, 8], [POISON], [9]]
        raised, returned, *good = await asyncio.gather(
            llm.embed(bad),
            llm.embed(bad, on_error="return"),
            *[llm.embed(TEXTS[:5]) for _ in range(20)],
            return_exceptions=True,
        )
        return raised, returned, good

    raised, returned, good = asyncio.run(main())
    assert isinstance(raised, EngineError)
    assert str(raised).startswith("prompt 1: ")
    assert "poison" in str(raised)
    assert [output.error is None for output in returned] == [True, False, True]
    for outputs in good:
        check(outputs, TEXTS[:5], expected)


def test_an_unknown_way_to_treat_errors_is_refused(make):
    with pytest.raises(InvalidInputError, match="on_error='skip'"):
        asyncio.run(make().embed("a", on_error="skip"))


def test_overload_raises_and_is_temporary(make, watched, gate):
    watched.watch(gate)

    async def main():
        llm = make(1, max_waiting_tokens=10)
        taken = asyncio.create_task(llm.embed([7] * 8))
        await held(gate, taken)
        with pytest.raises(EngineOverloadedError, match="max_waiting_tokens=10"):
            await llm.embed([8] * 3, on_error="return")
        gate.open()
        await taken
        return await llm.embed([8] * 3)

    assert len(asyncio.run(main())) == 1
