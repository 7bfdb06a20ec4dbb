"""The cache on disk, used by several threads, processes and models."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from disk_cache_kit import MEBIBYTE, entries, keys, size_of, value

from millpond_cache import recovery
from millpond_cache.database import FILE_NAME

REAL_OPEN = os.open


def test_threads_share_a_cache(opened):
    cache, errors = opened(max_bytes=2 * MEBIBYTE), []

    def work(seed):
        source = random.Random(seed)
        for _ in range(40):
            numbers = source.sample(range(500), 20)
            stored = cache.get(keys(*numbers))
            errors.extend(n for n, it in zip(numbers, stored, strict=True) if it not in (None, value(n)))
            cache.put(entries(*numbers))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_file_with_connections_is_not_opened_beside_them(folder, opened, monkeypatch):
    """Closing any descriptor of a file releases the locks of the connections of the process."""
    opened().get(keys(1))
    names = []
    monkeypatch.setattr(
        recovery.os, "open", lambda path, *rest: names.append(Path(path).name) or REAL_OPEN(path, *rest)
    )
    opened().get(keys(1))
    assert "lock" in names
    assert FILE_NAME not in names


WORKER = """
import random, sys
from millpond_cache.kinds import CacheOptions
from millpond_cache.disk import open_disk_cache

folder, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
source = random.Random(seed)
cache = open_disk_cache(CacheOptions(address=folder, max_bytes=4 * 2**20, fingerprint=f"model {seed % 2}"))
print("open", flush=True)
wrong = 0
for _ in range(rounds):
    numbers = source.sample(range(3000), 20)
    keys = [number.to_bytes(32, "little") for number in numbers]
    values = [random.Random(number).randbytes(1500) for number in numbers]
    wrong += sum(stored not in (None, value) for stored, value in zip(cache.get(keys), values))
    cache.put(list(zip(keys, values)))
cache.close()
print("wrong", wrong, flush=True)
"""


def start_worker(folder, seed, rounds):
    command = [sys.executable, "-c", WORKER, str(folder), str(seed), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_share_a_file_while_writers_are_killed(folder, opened):
    """Two processes finish, while others are killed in the middle of writing."""
    folder.mkdir()
    survivors = [start_worker(folder, seed, 60) for seed in (1, 2)]
    source = random.Random(0)
    for seed in range(10, 14):
        victim = start_worker(folder, seed, 100_000)
        assert victim.stdout.readline() == "open\n"
        time.sleep(source.random() / 5)
        victim.kill()
        victim.communicate()
    for process in survivors:
        output, errors = process.communicate(timeout=300)
        assert (process.returncode, output.splitlines()[-1], errors) == (0, "wrong 0", "")
    cache = opened(max_bytes=4 * MEBIBYTE)
    stored = cache.get(keys(*range(3000)))
    assert all(it in (None, value(number)) for number, it in enumerate(stored))
    assert sum(it is not None for it in stored) > 100
    with sqlite3.connect(folder / FILE_NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    cache.close()
    assert size_of(folder) <= 4 * MEBIBYTE


def test_models_in_one_file_share_no_entry(folder, tmp_path, load):
    from millpond.testing.checkpoints import tiny

    models = [tiny("BertModel", tmp_path / "small"), tiny("BertModel", tmp_path / "large", num_hidden_layers=3)]
    for expected in ((0, 1), (1, 0)):
        for model in models:
            llm = load(model, cache=folder)
            llm.embed("so it is", use_tqdm=False)
            assert (llm.cache.hits, llm.cache.misses) == expected
            llm.close()
    with sqlite3.connect(folder / FILE_NAME) as connection:
        names = connection.execute("SELECT name FROM models ORDER BY id").fetchall()
    connection.close()
    assert names == [(str(model),) for model in models]
    assert Path(folder, FILE_NAME).exists()
