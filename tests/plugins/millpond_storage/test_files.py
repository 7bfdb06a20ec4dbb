"""Durable files: complete or absent, also after errors during a write."""

import json
import os

import pytest

from millpond_storage.files import append_line, read_bytes, read_json, write_durably, write_json, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ä": 1})
    write_json(path, {"ä": 2})
    assert read_json(path) == {"ä": 2}
    assert [it.name for it in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(type(error)):
        write_durably(path, write)
    assert path.read_text() == "old"
    assert [it.name for it in tmp_path.iterdir()] == ["a.txt"]


def test_content_is_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    events = []
    path = tmp_path / "a.txt"
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append(path.exists()), fsync(descriptor)))
    write_text(path, "new")
    assert events == [False, True]


def test_lines_are_appended_whole(tmp_path):
    for number in range(3):
        append_line(tmp_path / "a.jsonl", {"number": number})
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]


def test_only_the_owner_may_read_a_private_file_at_any_moment(tmp_path):
    modes = []

    def write(temporary):
        modes.append(temporary.stat().st_mode & 0o777)
        temporary.write_text("secret")

    for _ in range(2):
        write_durably(tmp_path / "a.txt", write, private=True)
        modes.append((tmp_path / "a.txt").stat().st_mode & 0o777)
    assert modes == [0o600] * 4


def test_a_pipe_or_a_folder_is_not_read_or_appended_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(OSError, match="not a regular file") as caught:
            read_bytes(tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
        with pytest.raises(OSError, match=r"No such device|Is a directory"):
            append_line(tmp_path / name, {})
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="not a regular file"):
        append_line(tmp_path / "pipe", {})
    os.close(reader)


def test_lines_are_not_appended_to_the_target_of_a_link(tmp_path):
    (tmp_path / "notes").write_text("thesis")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "notes")
    with pytest.raises(OSError, match="symbolic link"):
        append_line(tmp_path / "a.jsonl", {})
    assert (tmp_path / "notes").read_text() == "thesis"


def test_json_that_is_nested_too_deeply_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")
