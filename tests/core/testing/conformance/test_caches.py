"""CacheConformance reports each fault: caches with one fault each."""

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class Entries:
    def __init__(self, options):
        self.entries = {}

    def get(self, keys):
        return [self.entries.get(key) for key in keys]

    def put(self, entries):
        self.entries.update(entries)

    def close(self):
        pass


class MyCache(Mine, CacheConformance):
    name, record, target, wait_s = "mine", CacheSpec, Entries, 0.2
    fields = {"persistent": False}


class TestCacheRight(MyCache):
    pass


class TestCacheLoses(MyCache):
    class target(Entries):
        def put(self, entries):
            pass


class TestCacheTruncates(MyCache):
    class target(Entries):
        def put(self, entries):
            self.entries.update({key: value[:1000] for key, value in entries})


class TestCacheSkipsMissing(MyCache):
    class target(Entries):
        def get(self, keys):
            return [self.entries[key] for key in keys if key in self.entries]


class TestCacheSorts(MyCache):
    class target(Entries):
        def get(self, keys):
            return super().get(sorted(keys))


class TestCacheReturnsViews(MyCache):
    class target(Entries):
        def get(self, keys):
            return [value and memoryview(value) for value in super().get(keys)]


class TestCacheFoldsCase(MyCache):
    class target(Entries):
        def get(self, keys):
            return super().get([key.lower() for key in keys])

        def put(self, entries):
            super().put([(key.lower(), value) for key, value in entries])


class TestCacheCutsKeys(MyCache):
    class target(Entries):
        def get(self, keys):
            return super().get([key[:-1] for key in keys])

        def put(self, entries):
            super().put([(key[:-1], value) for key, value in entries])


class TestCacheKeepsTheFirst(MyCache):
    class target(Entries):
        def put(self, entries):
            for key, value in entries:
                self.entries.setdefault(key, value)


class TestCacheForgets(MyCache):
    fields = {"persistent": True}


class TestCacheMixesThreads(MyCache):
    class target(Entries):
        def get(self, keys):
            self.keys = keys
            time.sleep(0.001)
            return super().get(self.keys)
"""

RIGHT = ("Cache",)
FAULTS = {
    "TestCacheLoses": {"test_stored_values_are_found", "test_results_have_the_bits_of_a_computation"},
    "TestCacheTruncates": {"test_stored_values_are_found"},
    "TestCacheSkipsMissing": {"test_values_have_the_order_of_their_keys"},
    "TestCacheSorts": {"test_values_have_the_order_of_their_keys"},
    "TestCacheReturnsViews": {"test_stored_values_are_found"},
    "TestCacheFoldsCase": {"test_similar_keys_are_different"},
    "TestCacheCutsKeys": {"test_similar_keys_are_different"},
    "TestCacheKeepsTheFirst": {"test_a_damaged_value_can_be_replaced"},
    "TestCacheForgets": {"test_entries_outlive_the_process"},
    "TestCacheMixesThreads": {"test_threads_share_the_cache"},
}


class TestCacheFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS
    skipped = frozenset({"test_listing_it_imports_nothing_heavy", "test_entries_outlive_the_process"})
