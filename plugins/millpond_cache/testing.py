"""CacheConformance: tests of a cache: it returns what was stored under a key, in order, and from several threads."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from millpond.llm import LLM
from millpond.plugin.registry import Entry
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond_cache.kinds import Cache, CacheOptions, CacheSpec

KEY_BYTES = 32
SIZES = (16, 17, 1000, 100_000)  # of values, in bytes: a checksum alone, vectors, token vectors
POLL_S = 0.01
TEXTS = ("a cup of tea", "the old mill by the river", "a cup of coffee")
OpenCache = Callable[[], Cache]


class CacheConformance(RecordConformance):
    """Tests of one cache. It may lose entries, but not the few of these tests.

    Attributes:
        name: The scheme of the cache.
        wait_s: The maximum time until a stored value can be read, in seconds.
    """

    kind: ClassVar[str] = "cache"
    expected_target: ClassVar[str] = "it must be a function of CacheOptions that returns a Cache"
    wait_s: ClassVar[float] = 10.0

    def address(self, folder: Path) -> str:
        """Return the text after the scheme of a new cache; by default the path of a folder that does not exist."""
        return str(folder / "cache")

    @pytest.fixture
    def open_cache(self, entry: Entry[CacheSpec], tmp_path: Path) -> Iterator[OpenCache]:
        """Return a function that opens the cache; it closes the cache of the previous call."""
        opened: list[Cache] = []

        def open_one() -> Cache:
            if opened:
                opened.pop().close()
            options = CacheOptions(address=self.address(tmp_path), model="model", fingerprint=64 * "0")
            opened.append(entry.load()(options))
            return opened[0]

        yield open_one
        for cache in opened:
            cache.close()

    def test_stored_values_are_found(self, open_cache: OpenCache) -> None:
        """Values of any size and with any bytes are found under their keys."""
        cache = open_cache()
        entries = [(_key(number), _value(number, size)) for number, size in enumerate(SIZES)]
        entries.append((_key(len(entries)), bytes(range(256))))
        cache.put(entries)
        self._demand_stored(cache, entries)

    def test_values_have_the_order_of_their_keys(self, open_cache: OpenCache) -> None:
        """There is one value per key, in order: None for a missing key, the same value for a repeated one."""
        cache = open_cache()
        entries = [(_key(number), _value(number)) for number in range(4)]
        cache.put(entries)
        self._demand_stored(cache, entries)
        order = (3, 7, 0, 3, 1, 8, 2)
        values = self._get(cache, [_key(number) for number in order])
        expected = [_value(number) if number < len(entries) else None for number in order]
        demand(values == expected, f"{self.name} returns other values, or another order, for missing or repeated keys")
        demand(self._get(cache, []) == [], f"{self.name} returns values for no keys")

    def test_similar_keys_are_different(self, open_cache: OpenCache) -> None:
        """Keys that differ in one bit, or look like text in another case, have no values in common."""
        cache = open_cache()
        stored = [_key(0), b"a" * KEY_BYTES, b"\0" * KEY_BYTES, b"%" * KEY_BYTES, b"/../\n'\"" * 4 + bytes(4)]
        others = [b"A" * KEY_BYTES, b"\0" * (KEY_BYTES - 1) + b"\1", b"\1" + b"\0" * (KEY_BYTES - 1), b"_" * KEY_BYTES]
        others += [bytes([*_key(0)[:-1], _key(0)[-1] ^ 1]), bytes([_key(0)[0] ^ 0x80, *_key(0)[1:]])]
        entries = [(key, key * 2) for key in stored]
        cache.put(entries)
        self._demand_stored(cache, entries)
        for key, value in zip(others, self._get(cache, others), strict=True):
            demand(value is None, f"{self.name} returns a value for {key!r}, which was not stored")

    def test_a_damaged_value_can_be_replaced(self, open_cache: OpenCache) -> None:
        """A value that is stored again under its key replaces the first one: else damage would last."""
        cache = open_cache()
        key, first, second = _key(0), _value(1), _value(2)
        cache.put([(key, first)])
        self._demand_stored(cache, [(key, first)])
        deadline = time.monotonic() + self.wait_s
        while self._get(cache, [key]) != [second] and time.monotonic() < deadline:
            cache.put([(key, second)])
            time.sleep(POLL_S)
        demand(self._get(cache, [key]) == [second], f"{self.name} keeps the first of two values of a key")

    def test_entries_outlive_the_process(self, entry: Entry[CacheSpec], open_cache: OpenCache) -> None:
        """A persistent cache has its entries after it was closed and opened again."""
        if not entry.spec.persistent:
            pytest.skip(f"{entry.qualified} is not persistent")
        entries = [(_key(number), _value(number)) for number in range(10)]
        open_cache().put(entries)
        self._demand_stored(open_cache(), entries)

    def test_threads_share_the_cache(self, open_cache: OpenCache) -> None:
        """Threads that read and write at the same time get no exception, and no value of another key.

        A value may be truncated while it is written: the caller's checksum finds that.
        """
        cache = open_cache()
        faults: list[str] = []

        def work(seed: int) -> None:
            source = random.Random(seed)  # noqa: S311
            try:
                for _ in range(50):
                    numbers = source.sample(range(40), 8)
                    values = cache.get([_key(number) for number in numbers])
                    read = [(n, it) for n, it in zip(numbers, values, strict=True) if it is not None]
                    wrong = [number for number, value in read if not _value(number).startswith(value)]
                    faults.extend(f"returns a wrong value for key {number}" for number in wrong)
                    cache.put([(_key(number), _value(number)) for number in numbers])
            except Exception as error:  # noqa: BLE001  reported in the thread of the test
                faults.append(f"raises {type(error).__name__}: {error}")

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        demand(not faults, f"{self.name} {next(iter(faults), '')}, with four threads")

    def test_results_have_the_bits_of_a_computation(self, entry: Entry[CacheSpec], tmp_path: Path) -> None:
        """A model with the cache returns equal bits, and finds what it computed before."""
        model = str(tiny("BertModel", tmp_path / "model"))
        arguments: dict[str, Any] = {"batch_invariant": True, "num_workers": 1, "plugins": self.plugins()}
        with LLM(model, **arguments) as llm:
            expected = llm.embed(list(TEXTS), output="array", use_tqdm=False)
        setting = f"{entry.spec.name}:{self.address(tmp_path)}".removesuffix(":")
        with LLM(model, cache=setting, **arguments) as llm:
            deadline = time.monotonic() + self.wait_s
            while True:
                actual = llm.embed(list(TEXTS), output="array", use_tqdm=False)
                demand_same(actual, expected, 0.0, f"results with the cache {self.name}")
                if llm.cache is None or llm.cache.hits or time.monotonic() > deadline:
                    break
            demand(llm.cache is not None and llm.cache.hits > 0, f"{self.name} finds no result of an earlier call")

    def _get(self, cache: Cache, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, after a check of their number and types."""
        values = list(cache.get(keys))
        demand(len(values) == len(keys), f"{self.name} returns {len(values)} values for {len(keys)} keys")
        for value in values:
            demand(
                value is None or isinstance(value, bytes),
                f"{self.name} returns {type(value).__name__}; expected bytes or None",
            )
        return values

    def _demand_stored(self, cache: Cache, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Wait until all entries are found: ``put`` may return before they are written."""
        keys, expected = [key for key, _ in entries], [value for _, value in entries]
        deadline = time.monotonic() + self.wait_s
        while None in (values := self._get(cache, keys)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        for number, (value, stored) in enumerate(zip(values, expected, strict=True)):
            demand(value is not None, f"{self.name} does not find entry {number} of {len(keys)} after {self.wait_s} s")
            demand(value == stored, f"{self.name} returns a wrong value for entry {number} of {len(keys)}")


def _key(number: int) -> bytes:
    return random.Random(number).randbytes(KEY_BYTES)  # noqa: S311


def _value(number: int, size: int = 1500) -> bytes:
    return random.Random(-1 - number).randbytes(size)  # noqa: S311
