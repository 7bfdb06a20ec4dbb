"""Hashes of a model's files: they are computed once per state, and missing files are reported."""

import pytest

from millpond import CheckpointError
from millpond_checkpoints import file_hashes


def test_a_file_is_hashed_once_per_state(tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(file_hashes, "file_hash", lambda path: hashed.append(path.name) or str(len(hashed)))
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    assert file_hashes.file_hashes(tmp_path) == file_hashes.file_hashes(tmp_path)
    assert sorted(hashed) == ["a.json", "b.json"]
    (tmp_path / "b.json").write_text("{ }")
    assert dict(file_hashes.file_hashes(tmp_path, lambda path: path.name == "b.json")) == {"b.json": "3"}


def test_a_file_that_cannot_be_read_is_an_error_of_the_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"Cannot read .*missing.json: No such file"):
        file_hashes.checkpoint_hash(tmp_path / "missing.json")
