"""Durable files: complete or absent, also after errors during a write."""

import json
import os

import pytest

from millpond_storage.files import append_line, read_json, write_durably, write_json, write_text


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
