"""The source ``cache`` reads the hub's cache like huggingface_hub, without importing its download functions."""

import json

import pytest
from huggingface_hub import constants, snapshot_download

from millpond.model.source import SourceOptions
from millpond.types.errors import ModelNotFoundError
from millpond_sources.hub import find_in_cache

NAME = "some-org/some-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
FILES = {"config.json": {}, "model.safetensors": {}, "onnx/model.onnx": {}, "pytorch_model.bin": {}, "README.md": {}}


@pytest.fixture
def cache(tmp_path):
    """A cache with two snapshots of one model, for the branches ``main`` and ``refs/pr/1``."""
    repository = tmp_path / "models--some-org--some-model"
    for ref, commit in (("main", COMMIT), ("refs/pr/1", OTHER)):
        (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(commit, encoding="utf-8")
        folder = repository / "snapshots" / commit
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text("{}", encoding="utf-8")
    return tmp_path


def note_listing(cache, files=FILES, version=1):
    """Write the file listing of a commit in the format of huggingface_hub."""
    tree = cache / "models--some-org--some-model" / "trees" / f"{COMMIT}.json"
    tree.parent.mkdir()
    entries = {name: {"size": 1, "blob_id": "b"} for name in files}
    tree.write_text(json.dumps({"format_version": version, "files": entries}), encoding="utf-8")


def find(cache, name=NAME, **options):
    return find_in_cache(name, SourceOptions(download_dir=str(cache), **options))


@pytest.mark.parametrize("revision", [None, "main", "refs/pr/1", COMMIT, OTHER])
def test_the_cache_finds_the_same_files_as_huggingface_hub(cache, revision):
    theirs = snapshot_download(NAME, revision=revision, cache_dir=cache, local_files_only=True)
    assert str(find(cache, revision=revision)) == theirs


def test_a_model_without_an_organisation(tmp_path):
    folder = tmp_path / "models--gpt2" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    (folder / "model.safetensors").write_text("", encoding="utf-8")
    assert find(tmp_path, "gpt2", revision=COMMIT) == folder


@pytest.mark.parametrize("revision", ["v2", "0" * 40, "../refs/main", "/etc", "refs"])
def test_an_unknown_revision_is_not_found(cache, revision):
    with pytest.raises(ModelNotFoundError, match=f"{NAME} at revision {revision} is not in {cache}"):
        find(cache, revision=revision)


@pytest.mark.parametrize("name", ["other/model", "some-org", "some-org/some-model/more", "../x", "a/../b", "a b/c"])
def test_a_folder_in_the_cache_without_a_model_is_not_found(cache, name):
    with pytest.raises(ModelNotFoundError):
        find(cache, name)


def test_the_cache_is_the_usual_one_if_no_other_is_named():
    with pytest.raises(ModelNotFoundError, match=f"is not in {constants.HF_HUB_CACHE}"):
        find_in_cache(NAME, SourceOptions())


def test_an_incomplete_download_is_not_used_as_a_model(cache):
    note_listing(cache, ["config.json", "model.safetensors", "tokenizer.json"])
    with pytest.raises(ModelNotFoundError, match=r"is incomplete: it lacks tokenizer\.json"):
        find(cache)
    assert find(cache, revision=OTHER).name == OTHER


def test_files_that_would_not_be_fetched_may_be_missing(cache):
    note_listing(cache)
    assert find(cache).name == COMMIT
    with pytest.raises(ModelNotFoundError, match=r"it lacks pytorch_model\.bin"):
        find(cache, allow_pickle=True)


def test_a_listing_of_another_version_is_ignored(cache):
    note_listing(cache, ["tokenizer.json"], version=2)
    assert find(cache).name == COMMIT


def test_a_snapshot_without_a_config_is_not_a_model(cache):
    (cache / "models--some-org--some-model" / "snapshots" / COMMIT / "config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"has no config\.json"):
        find(cache)
