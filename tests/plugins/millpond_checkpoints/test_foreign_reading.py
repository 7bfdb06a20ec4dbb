"""Checks of a folder before transformers or sentence-transformers read its files."""

import json
import os

import pytest

from millpond.types.errors import CheckpointError
from millpond_checkpoints import foreign_reading
from millpond_checkpoints.foreign_reading import check_foreign_reading

NAMES = ("vocab.txt", "merges.txt", "vocab.json", "spiece.model", "README.md", "added_tokens.json", "1_Pooling/x.json")


def refuse(folder, match):
    with pytest.raises(CheckpointError, match=match):
        check_foreign_reading(folder)


@pytest.mark.parametrize("name", NAMES)
def test_pipes_and_devices_are_refused_in_any_place(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    refuse(tmp_path, "not a regular file")
    path.unlink()
    path.symlink_to("/dev/zero")
    refuse(tmp_path, "not a regular file")


def test_vocabularies_of_absurd_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_reading, "MAX_VOCABULARY", 3)
    (tmp_path / "vocab.txt").write_text("a\nb\nc\n")
    check_foreign_reading(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\nc\nd\n")
    refuse(tmp_path, "vocab.txt has more than 3 lines")
    os.truncate(tmp_path / "vocab.txt", foreign_reading.MAX_VOCABULARY_BYTES + 1)
    refuse(tmp_path, "is larger than")


@pytest.mark.parametrize(("limit", "key"), [("MAX_VOCABULARY", "tokens"), ("MAX_ADDED_TOKENS", "added tokens")])
def test_tokenizers_with_very_many_tokens_are_refused(tmp_path, monkeypatch, limit, key):
    monkeypatch.setattr(foreign_reading, limit, 1)
    settings = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{}, {}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    refuse(tmp_path, f"has 2 {key}; at most 1 are read")


def test_deep_json_that_only_the_other_library_reads_is_refused(tmp_path):
    (tmp_path / "generation_config.json").write_text("[" * 100_000)
    refuse(tmp_path, "not valid JSON")


def test_a_folder_with_very_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_reading, "MAX_ENTRIES", 2)
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    refuse(tmp_path, "more than 2 files and folders")


def test_an_ordinary_folder_with_a_broken_link_is_accepted(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "lost.bin").symlink_to(tmp_path / "missing")
    check_foreign_reading(tmp_path)
