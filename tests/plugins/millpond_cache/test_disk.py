"""The cache on disk: reopening, its size, damage, newer formats, folders that cannot be written, full disks."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from disk_cache_kit import MEBIBYTE, entries, key, keys, size_of, value
from permissions import respected_permissions
from tiny_disk import tiny_disk

from millpond.types.errors import InvalidInputError
from millpond_cache import database, recovery
from millpond_cache.database import FILE_NAME, PAGE_BYTES
from millpond_cache.disk import open_disk_cache
from millpond_cache.entries import decode_entry
from millpond_cache.kinds import CacheOptions


def fill(cache, *numbers, size=1500):
    cache.put(entries(*numbers, size=size))
    cache.close()


def test_entries_are_read_before_and_after_they_are_written(opened):
    cache = opened()
    cache.put(entries(1, 2))
    assert cache.get(keys(1, 3, 2)) == [value(1), None, value(2)]
    cache.close()
    assert opened().get(keys(1, 3, 2)) == [value(1), None, value(2)]


def test_many_keys_are_read_in_order(opened):
    fill(opened(), *range(1200))
    assert opened().get(keys(*range(1300))) == [*(value(number) for number in range(1200)), *[None] * 100]


def test_a_cache_that_is_not_closed_stores_its_entries(opened, folder):
    options = CacheOptions(address=str(folder), fingerprint="one")
    cache = open_disk_cache(options)
    cache.put(entries(1))
    del cache
    assert opened().get(keys(1)) == [value(1)]


def test_files_are_readable_by_their_owner_only(opened, folder):
    fill(opened(), 1)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [200, 1500, 20_000])
def test_the_files_stay_under_the_maximum_size(opened, folder, size):
    cache = opened(max_bytes=2 * MEBIBYTE)
    for start in range(0, 6 * MEBIBYTE // size, 100):
        cache.put(entries(*range(start, start + 100), size=size))
    cache.close()
    assert size_of(folder) <= 2 * MEBIBYTE
    last = start + 99
    cache = opened(max_bytes=2 * MEBIBYTE)
    assert cache.get(keys(last)) == [value(last, size)], "the newest entries are kept"
    assert cache.get(keys(0)) == [None], "the oldest ones are dropped"


def test_the_least_recently_used_entries_are_dropped(opened, folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(database.time, "time", lambda: now[0])
    fill(opened(max_bytes=2 * MEBIBYTE), *range(700))
    now[0] += 2 * database.TOUCH_AFTER_S
    cache = opened(max_bytes=2 * MEBIBYTE)
    assert None not in cache.get(keys(*range(50)))
    cache.close()
    now[0] += 1
    fill(opened(max_bytes=2 * MEBIBYTE), *range(1000, 1500))
    stored = opened(max_bytes=2 * MEBIBYTE).get(keys(*range(100)))
    assert None not in stored[:50], "they were used"
    assert stored[50:] == [None] * 50


def test_a_smaller_size_shrinks_the_file(opened, folder):
    fill(opened(max_bytes=16 * MEBIBYTE), *range(5000))
    assert size_of(folder) > 4 * MEBIBYTE
    cache = opened(max_bytes=2 * MEBIBYTE)
    assert cache.get(keys(4999)) == [value(4999)]
    cache.close()
    assert size_of(folder) <= 2 * MEBIBYTE


def test_a_value_that_would_fill_the_cache_is_not_stored(opened):
    cache = opened(max_bytes=2 * MEBIBYTE)
    cache.put(entries(1))
    cache.put(entries(2, size=MEBIBYTE))
    cache.close()
    assert opened(max_bytes=2 * MEBIBYTE).get(keys(1, 2)) == [value(1), None]


def test_a_size_that_is_too_small_is_refused(folder):
    with pytest.raises(InvalidInputError, match="too small for a cache on disk: at least 524288 bytes"):
        open_disk_cache(CacheOptions(address=str(folder), max_bytes=1000))


# --- damage -----------------------------------------------------------------------------------------------------------


def overwrite(path, start, content):
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


DAMAGE = {
    "not a database": lambda path: path.write_bytes(b"hello " * 5000),
    "an empty file": lambda path: path.write_bytes(b""),
    "a truncated file": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "a file cut in its first page": lambda path: os.truncate(path, 1000),
    "a schema of zeros": lambda path: overwrite(path, 100, bytes(3000)),
    "pages of zeros": lambda path: overwrite(path, 3 * PAGE_BYTES, bytes(20 * PAGE_BYTES)),
    "pages of noise": lambda path: overwrite(path, 3 * PAGE_BYTES, random.Random(0).randbytes(20 * PAGE_BYTES)),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_a_damaged_file_has_no_wrong_entries_and_is_replaced(opened, folder, name, is_open):
    fill(opened(), *range(200))
    cache = opened() if is_open else None
    DAMAGE[name](folder / FILE_NAME)
    cache = cache or opened()
    for number, stored in enumerate(cache.get(keys(*range(200)))):
        assert stored in (None, value(number)) or name == "pages of noise"
    for attempt in range(3):
        cache.put(entries(*range(1000 * attempt, 1000 * attempt + 50)))
        cache.get(keys(*range(200)))
    cache.close()
    fill(opened(), 7777)
    assert opened().get(keys(7777)) == [value(7777)], "the cache works again"


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_never_a_wrong_result(folder, load, tmp_path, seed):
    import numpy as np

    from millpond.testing.checkpoints import tiny

    model, texts = tiny("BertModel", tmp_path / "model"), [f"text {number}" for number in range(60)]
    expected = load(model, batch_invariant=True).embed(texts, output="array", use_tqdm=False)
    load(model, batch_invariant=True, cache=folder).embed(texts, use_tqdm=False)
    source = random.Random(seed)
    path = folder / FILE_NAME
    llm = load(model, batch_invariant=True, cache=folder)
    llm.close()
    content = bytearray(path.read_bytes())
    for _ in range(200):
        content[source.randrange(len(content))] = source.randrange(256)
    path.write_bytes(content[: source.randrange(len(content))] if seed % 3 == 0 else content)
    again = load(model, batch_invariant=True, cache=folder)
    for _ in range(2):
        assert np.array_equal(again.embed(texts, output="array", use_tqdm=False), expected)


def test_a_damaged_entry_is_computed_again_and_replaced(folder, load, tmp_path, caplog):
    from millpond.testing.checkpoints import tiny

    model = tiny("BertModel", tmp_path / "model")
    first = load(model, cache=folder)
    first.embed(["one", "two"], use_tqdm=False)
    first.close()
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute("UPDATE entries SET value = substr(value, 1, 60) || x'00' || substr(value, 62)")
        connection.execute("UPDATE entries SET key = (SELECT min(key) FROM entries) || x'01' WHERE rowid = 0")
    connection.close()
    for expected in ((0, 2), (2, 0)):
        llm = load(model, cache=folder)
        llm.embed(["one", "two"], use_tqdm=False)
        assert (llm.cache.hits, llm.cache.misses) == expected
        llm.close()
    (message,) = [record.message for record in caplog.records]
    assert re.fullmatch(r"an entry of the cache 'disk' of plugin .* is damaged; its result is computed again", message)


def test_an_entry_under_another_key_is_damaged():
    import numpy as np

    from millpond_cache.entries import encode_entry

    entry = encode_entry(key(1), [np.ones(3, np.float32)])
    assert decode_entry(key(1), entry) is not None
    assert decode_entry(key(2), entry) is None
    for length in range(len(entry)):
        assert decode_entry(key(1), entry[:length]) is None


def test_a_removed_folder_is_created_again(opened, folder):
    cache = opened()
    cache.put(entries(1))
    shutil.rmtree(folder)
    assert cache.get(keys(5)) == [None]


# --- folders that cannot be used --------------------------------------------------------------------------------------


def test_a_newer_format_is_refused(opened, folder):
    fill(opened(), 1)
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(InvalidInputError, match="has format 2, which a newer version of Millpond wrote; this version"):
        opened()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=r"cannot be used: .*Choose a folder that this process can write"):
        open_disk_cache(CacheOptions(address=str(tmp_path / "file" / "cache")))
    with pytest.raises(InvalidInputError, match="names no folder"):
        open_disk_cache(CacheOptions(address=""))


@pytest.mark.parametrize("path", [".", FILE_NAME])
@pytest.mark.parametrize("mode", [0o500, 0])
def test_files_with_wrong_permissions_are_refused(opened, folder, path, mode):
    fill(opened(), 1)
    before = (folder / path).stat().st_mode
    (folder / path).chmod(mode)
    try:
        with (
            respected_permissions(),
            pytest.raises(InvalidInputError, match=r"cannot be used: .*that this process can"),
        ):
            opened()
    finally:
        (folder / path).chmod(before)
    assert opened().get(keys(1)) == [value(1)]


def run(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_ends_caching_with_one_warning(folder):
    code = """
    import logging, resource, signal, sys
    from millpond_cache.kinds import CacheOptions
    from millpond_cache.disk import open_disk_cache

    logging.basicConfig(level=logging.WARNING)
    cache = open_disk_cache(CacheOptions(address=sys.argv[1], fingerprint="one"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    for start in range(0, 1000, 50):
        cache.put([(number.to_bytes(32, "little"), bytes(3000)) for number in range(start, start + 50)])
        values = cache.get([start.to_bytes(32, "little"), bytes(31) + b"x"])
        assert values[1] is None
    cache.close()
    """
    result = run(code, folder)
    assert result.returncode == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if "cannot be written" in line]
    assert len(warnings) == 1, result.stderr
    assert warnings[0].endswith("no more results are stored")


@pytest.mark.parametrize("pages", [40, 150])
def test_a_really_full_disk_ends_caching_with_one_warning(tmp_path, pages, caplog):
    stored = [entries(*range(start, start + 20)) for start in range(0, 400, 20)]
    with tiny_disk(tmp_path / "disk", pages) as disk:
        cache = open_disk_cache(CacheOptions(address=str(disk.path / "cache"), fingerprint="one"))
        for part in stored:
            cache.put(part)
        for part in stored:
            assert all(it in (None, kept) for it, (_, kept) in zip(cache.get([k for k, _ in part]), part, strict=True))
        cache.close()
        assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1
        disk.resize(4096)
        cache = open_disk_cache(CacheOptions(address=str(disk.path / "cache"), fingerprint="one"))
        for part in stored:
            assert all(it in (None, kept) for it, (_, kept) in zip(cache.get([k for k, _ in part]), part, strict=True))
        cache.put(entries(7777))
        assert cache.get(keys(7777)) == [value(7777)]
        cache.close()


@pytest.mark.parametrize("name", [FILE_NAME, f"{FILE_NAME}-wal", "lock"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_in_place_of_a_file_are_refused(folder, opened, tmp_path, name, kind):
    folder.mkdir(exist_ok=True)
    target = tmp_path / "target"
    target.write_bytes(b"")
    if kind == "link":
        (folder / name).symlink_to(target)
    else:
        os.mkfifo(folder / name)
    with pytest.raises(InvalidInputError, match="cannot be used"):
        opened()
    assert target.read_bytes() == b""


def test_the_file_of_another_user_is_refused(opened, folder):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    fill(opened(), 1)
    os.chown(folder / FILE_NAME, 65534, 65534)
    with pytest.raises(InvalidInputError, match=r"results.sqlite belongs to another user \(nobody\)"):
        opened()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_all_users_can_write_is_refused(opened, folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InvalidInputError, match=rf"{folder} can be written by all users: .* chmod go-w {folder}, or"):
        opened()
    assert not list(folder.iterdir())
    folder.chmod(0o755)
    fill(opened(), 1)
    assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_the_folder_of_another_user_is_refused(opened, folder):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(InvalidInputError, match=r"belongs to another user \(nobody\): .* choose a folder of this user"):
        opened()


@pytest.mark.parametrize(
    "planted",
    [
        "DROP TABLE entries; CREATE VIEW entries AS SELECT 1 AS key, 1 AS model, 1 AS used, 1 AS value",
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM models; END",
    ],
)
def test_a_file_with_a_planted_view_or_trigger_is_replaced(opened, folder, planted):
    fill(opened(), 1)
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript(planted)
    connection.close()
    fill(opened(), 2)
    assert opened().get(keys(1, 2)) == [None, value(2)]


def test_a_lock_that_is_never_released_is_an_error(opened, folder, monkeypatch):
    monkeypatch.setattr(recovery, "LOCK_TIMEOUT_S", 0.2)
    fill(opened(), 1)
    with recovery.locked(folder), pytest.raises(InvalidInputError, match="has held its lock for"):
        opened()


def test_the_file_of_another_program_is_not_replaced(opened, folder):
    folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / FILE_NAME)
    connection.executescript("CREATE TABLE notes (text TEXT)")
    connection.close()
    with pytest.raises(InvalidInputError, match="was not written by Millpond"):
        opened()
