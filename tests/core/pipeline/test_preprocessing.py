"""PreprocessingPool: small calls are encoded together, and no call waits for a long one."""

import asyncio
import gc
import threading
import weakref

import pytest

from millpond.pipeline.io_processor import Call, Job
from millpond.pipeline.preprocessing import (
    MAX_SMALL_CALL_CHARS,
    MAX_SMALL_CALL_PROMPTS,
    NUM_REMOTE_THREADS,
    NUM_THREADS,
    PreprocessingPool,
    is_small,
)
from millpond.types.errors import EngineError
from millpond.types.prompts import ImagePart, PairItem

CALL = Call()
PATIENCE = 120.0


class Gated:
    """Fake tasks of a model: records its calls, and returns jobs once the gate is open."""

    def __init__(self):
        self.calls = []
        self.began = threading.Semaphore(0)
        self.may_go = threading.Event()
        self.tasks = {}

    def task(self, name):
        return self.tasks.setdefault(name, GatedTask(self, name))

    def encode(self, name, indices, items):
        self.calls.append((name, [data for data, _ in items]))
        self.began.release()
        assert self.may_go.wait(PATIENCE)
        if "poison" in self.calls[-1][1]:
            raise OSError("poisoned")
        if "panic" in self.calls[-1][1]:
            raise SystemExit("panic")
        jobs = [Job(request_id=name) for _ in indices]
        for job, index in zip(jobs, indices, strict=True):
            job.index = index
        return jobs


class GatedTask:
    """Fake bound task."""

    def __init__(self, gated, name):
        self.gated, self.name = gated, name

    def encode(self, indices, items):
        return self.gated.encode(self.name, indices, items)


class NamedPool(PreprocessingPool):
    """Takes tasks by their names."""

    def __init__(self, gated):
        super().__init__()
        self.gated = gated

    async def encode(self, task, indices, items):
        return await super().encode(self.gated.task(task), indices, items)


@pytest.fixture
def pipeline():
    pipeline = Gated()
    yield pipeline
    pipeline.may_go.set()


@pytest.fixture
def pool(pipeline):
    pool = NamedPool(pipeline)
    yield pool
    pool.close()


def items(*texts):
    return [(text, CALL) for text in texts]


async def started(pipeline):
    assert await asyncio.to_thread(pipeline.began.acquire, timeout=PATIENCE)


async def ask(pool, *texts, processor="embed"):
    """Indices and processors of the jobs of some texts."""
    jobs = await pool.encode(processor, range(len(texts)), items(*texts))
    return [(job.index, job.request_id) for job in jobs]


def test_calls_that_arrive_meanwhile_are_encoded_together(pipeline, pool):
    async def main():
        first = asyncio.create_task(ask(pool, "a"))
        await started(pipeline)
        later = [asyncio.create_task(ask(pool, *texts)) for texts in (["b", "c"], ["d"])]
        other = asyncio.create_task(ask(pool, "e", processor="classify"))
        await asyncio.sleep(0)
        pipeline.may_go.set()
        return await asyncio.gather(first, *later, other)

    assert asyncio.run(main()) == [
        [(0, "embed")],
        [(0, "embed"), (1, "embed")],
        [(0, "embed")],
        [(0, "classify")],
    ]
    assert pipeline.calls == [("embed", ["a"]), ("embed", ["b", "c", "d"]), ("classify", ["e"])]


def test_a_large_call_is_encoded_alone_and_delays_no_small_one(pipeline, pool):
    large = "x" * (MAX_SMALL_CALL_CHARS + 1)

    async def main():
        slow = asyncio.create_task(ask(pool, large))
        await started(pipeline)
        small = asyncio.create_task(ask(pool, "a"))
        await started(pipeline)  # although the other still goes on
        pipeline.may_go.set()
        await asyncio.gather(slow, small)

    asyncio.run(main())
    assert pipeline.calls == [("embed", [large]), ("embed", ["a"])]


def test_a_cancelled_call_affects_no_other(pipeline, pool):
    async def main():
        first = asyncio.create_task(ask(pool, "a"))
        await started(pipeline)
        gone, stays = (asyncio.create_task(ask(pool, text)) for text in "bc")
        await asyncio.sleep(0)
        gone.cancel()
        pipeline.may_go.set()
        assert await first == await stays == [(0, "embed")]
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(main())


def test_waiting_calls_get_a_failure_and_the_next_call_is_served(pipeline, pool):
    pipeline.may_go.set()

    async def main():
        with pytest.raises(OSError, match="poisoned"):
            await ask(pool, "poison")
        return await ask(pool, "a")

    assert asyncio.run(main()) == [(0, "embed")]


def test_calls_of_two_event_loops_are_answered_on_their_own(pipeline, pool):
    results = []

    def run(text):
        results.append(asyncio.run(ask(pool, text)))

    threads = [threading.Thread(target=run, args=(text,)) for text in "abc"]
    for thread in threads:
        thread.start()
    pipeline.may_go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [[(0, "embed")]] * 3


def test_an_exception_that_would_end_the_thread_fails_the_call(pipeline, pool):
    pipeline.may_go.set()

    async def main():
        with pytest.raises(EngineError, match="panic"):
            await asyncio.wait_for(ask(pool, "panic"), PATIENCE)
        return await asyncio.wait_for(ask(pool, "a"), PATIENCE)

    assert asyncio.run(main()) == [(0, "embed")]


HOST = ImagePart("https://example.org/slow.png")


@pytest.mark.parametrize(
    "slow",
    [
        {"prompt": "", "multi_modal_data": {"image": "https://example.org/slow.png"}},
        PairItem("a mill", (HOST,)),
        PairItem(query=("a mill", HOST)),
    ],
)
def test_calls_that_wait_for_images_delay_no_texts(pipeline, pool, slow):
    async def main():
        waiting = [asyncio.create_task(pool.encode("score", [0], [(slow, CALL)])) for _ in range(NUM_REMOTE_THREADS)]
        for _ in waiting:
            await started(pipeline)
        pairs = asyncio.create_task(pool.encode("score", [0], [(PairItem("a mill", "a pond"), CALL)]))
        await started(pipeline)  # although the others still go on
        pipeline.may_go.set()
        await asyncio.gather(*waiting, pairs)

    asyncio.run(main())


@pytest.mark.parametrize("local_url", ["data:image/png;base64,AAAA", "file:///tmp/a.png"])
def test_local_images_do_not_wait_for_images_of_slow_hosts(pipeline, pool, local_url):
    async def main():
        slow = {"multi_modal_data": {"image": "https://example.org/slow.png"}}
        waiting = [
            asyncio.create_task(pool.encode("embed", [0], [(slow, CALL)])) for _ in range(NUM_REMOTE_THREADS + 4)
        ]
        for _ in range(NUM_REMOTE_THREADS):
            await started(pipeline)
        local = {"multi_modal_data": {"image": local_url}}
        image = asyncio.create_task(pool.encode("embed", [0], [(local, CALL)]))
        await started(pipeline)  # although the others still go on
        assert pipeline.calls[-1][1] == [local]
        pipeline.may_go.set()
        await asyncio.gather(*waiting, image)

    asyncio.run(main())


def test_prompts_of_a_cancelled_call_are_released_at_once(pipeline, pool):
    class Text(str):
        """A text that can be watched."""

        __slots__ = ("__weakref__",)

    async def main():
        long = "a mill " * MAX_SMALL_CALL_CHARS
        held = [asyncio.create_task(ask(pool, long)) for _ in range(NUM_THREADS)]
        for _ in held:
            await started(pipeline)
        text = Text(long)
        gone = weakref.ref(text)
        waiting = asyncio.create_task(pool.encode("embed", [0], [(text, CALL)]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])  # its error would keep what its frames hold
        assert waiting.cancelled()
        del text, waiting
        gc.collect()
        assert gone() is None
        pipeline.may_go.set()
        await asyncio.gather(*held)

    asyncio.run(main())


def test_small_calls_do_not_wait_for_one_that_hangs(pipeline, pool):
    async def calls():
        hanging = asyncio.create_task(ask(pool, "hangs"))
        await started(pipeline)
        hung = pipeline.may_go
        waits = asyncio.create_task(ask(pool, "waits"))
        await asyncio.sleep(0)  # it waits behind the other
        pipeline.may_go = threading.Event()
        pipeline.may_go.set()
        assert (await waits)[0][0] == 0
        assert not hanging.done()
        hung.set()
        await hanging

    asyncio.run(calls())


def test_a_call_is_small_up_to_its_limits():
    assert is_small(items(*["a"] * MAX_SMALL_CALL_PROMPTS))
    assert is_small(items("x" * MAX_SMALL_CALL_CHARS))
    assert not is_small(items(*["a"] * (MAX_SMALL_CALL_PROMPTS + 1)))
    assert not is_small(items("x" * MAX_SMALL_CALL_CHARS, "x"))
    assert not is_small([({"prompt": "a"}, CALL)])
