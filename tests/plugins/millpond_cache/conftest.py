"""A folder for the cache on disk, and a function that opens caches in it."""

import pytest
from disk_cache_kit import MEBIBYTE

from millpond_cache.disk import open_disk_cache
from millpond_cache.kinds import CacheOptions


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def opened(folder):
    """Open caches in one folder; they are closed after the test."""
    caches = []

    def open_cache(max_bytes=64 * MEBIBYTE, fingerprint="one"):
        options = CacheOptions(address=str(folder), max_bytes=max_bytes, model="tiny", fingerprint=fingerprint)
        caches.append(open_disk_cache(options))
        return caches[-1]

    yield open_cache
    for cache in caches:
        cache.close()
