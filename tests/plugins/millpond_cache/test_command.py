"""`millpond cache`: the status of a folder's cache, and its removal while a process uses it."""

import json

import pytest
from typer.testing import CliRunner

from millpond_cache.database import FILE_NAME
from millpond_cache.disk import open_disk_cache
from millpond_cache.kinds import CacheOptions
from millpond_command import cli

KEYS = [bytes([number]) * 32 for number in range(3)]


@pytest.fixture
def millpond():
    return lambda *arguments: CliRunner().invoke(cli.app, ["cache", *map(str, arguments)])


@pytest.fixture
def opened(tmp_path):
    cache = open_disk_cache(CacheOptions(address=str(tmp_path), model="tiny", fingerprint="abcdef0123"))
    yield cache
    cache.close()


def test_status_lists_models_with_their_entries(millpond, opened, tmp_path):
    opened.put([(key, bytes(1000)) for key in KEYS])
    opened.close()
    answer = json.loads(millpond("status", tmp_path, "--json").stdout)
    assert answer["format"] == 1
    assert answer["models"] == [{"model": "tiny", "fingerprint": "abcdef0123", "entries": 3, "bytes": 3000}]
    assert "tiny (abcdef01): 3 entries, 0.0 MB" in millpond("status", tmp_path).stdout


def test_clear_removes_the_files_of_a_cache_in_use(millpond, opened, tmp_path):
    result = millpond("clear", tmp_path)
    assert (result.exit_code, result.output) == (0, "")
    assert not (tmp_path / FILE_NAME).exists()
    opened.put([(KEYS[1], b"new")])
    opened.close()
    again = open_disk_cache(CacheOptions(address=str(tmp_path), fingerprint="abcdef0123"))
    assert again.get([KEYS[1]]) == [b"new"], "the process continues with a new file"
    again.close()


@pytest.mark.parametrize("command", ["status", "clear"])
def test_a_folder_without_a_cache_is_refused(millpond, tmp_path, command):
    result = millpond(command, tmp_path / "none")
    assert result.exit_code == 2
    assert "contains no cache: it has no file results.sqlite" in result.output


def test_a_damaged_cache_is_reported_by_status_and_removed_by_clear(millpond, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"hello" * 1000)
    assert "cannot be read: file is not a database" in millpond("status", tmp_path).output
    assert millpond("clear", tmp_path).exit_code == 0
    assert not (tmp_path / FILE_NAME).exists()
