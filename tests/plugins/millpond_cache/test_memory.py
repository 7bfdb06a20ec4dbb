"""The cache in memory: least recently used order, its size, threads."""

import threading

import pytest

from millpond.types.errors import InvalidInputError
from millpond_cache.kinds import CacheOptions
from millpond_cache.memory import ENTRY_OVERHEAD, MemoryCache, open_memory_cache

ENTRY_BYTES = 1 + 10 + ENTRY_OVERHEAD


def entry(letter):
    return letter.encode(), letter.encode() * 10


def keys_of(cache, letters):
    return "".join(key for key in letters if cache.get([key.encode()])[0] is not None)


def test_the_least_recently_used_entry_is_dropped():
    cache = MemoryCache(3 * ENTRY_BYTES)
    cache.put([entry("a"), entry("b"), entry("c")])
    cache.get([b"a"])
    cache.put([entry("d")])
    assert keys_of(cache, "abcd") == "acd"
    cache.put([entry("a"), entry("e")])
    assert keys_of(cache, "abcde") == "ade"


def test_the_size_counts_replaced_and_dropped_entries():
    cache = MemoryCache(2 * ENTRY_BYTES)
    for _ in range(3):
        cache.put([entry("a"), entry("b")])
    assert (len(cache), cache.num_bytes) == (2, 2 * ENTRY_BYTES)
    cache.put([(b"a", b"long" * 40)])
    assert (len(cache), cache.num_bytes) == (1, 1 + 160 + ENTRY_OVERHEAD)


def test_a_value_over_the_maximum_size_drops_no_other():
    cache = MemoryCache(2 * ENTRY_BYTES)
    cache.put([entry("a"), (b"x", b"x" * 1000)])
    assert keys_of(cache, "ax") == "a"


def test_threads_share_a_cache_of_bounded_size():
    cache, errors = MemoryCache(50 * ENTRY_BYTES), []

    def work(start):
        for number in range(start, start + 2000):
            key = b"%c" % (number % 120)
            (value,) = cache.get([key])
            if value not in (None, key * 10):
                errors.append(key)
            cache.put([(key, key * 10)])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (len(cache), cache.num_bytes) == (50, 50 * ENTRY_BYTES)


@pytest.mark.parametrize(
    ("address", "max_bytes", "expected"),
    [("512MB", None, 512 * 10**6), ("1.5 KiB", None, 1536), ("", 10**6, 10**6), ("", None, 512 * 10**6)],
)
def test_the_size_is_in_the_address_or_in_cache_size(address, max_bytes, expected):
    assert open_memory_cache(CacheOptions(address=address, max_bytes=max_bytes)).max_bytes == expected


@pytest.mark.parametrize("address", ["lots", "-5MB", "0", "5 PB", "512MB/x"])
def test_an_invalid_size_is_refused(address):
    with pytest.raises(InvalidInputError, match="is not a size: write a number with a unit"):
        open_memory_cache(CacheOptions(address=address))


def test_two_sizes_are_refused():
    with pytest.raises(InvalidInputError, match="pass the size once"):
        open_memory_cache(CacheOptions(address="1MB", max_bytes=5))
