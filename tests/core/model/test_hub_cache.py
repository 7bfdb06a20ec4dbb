"""Complete models in the hub's cache are found without network access, by name and revision."""

import json
from pathlib import Path

import numpy as np
import pytest

from millpond import LLM, ModelNotFoundError
from millpond.testing.checkpoints import tiny, write_sentence_transformers

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path):
    """A model in a cache with the layout of huggingface_hub: blobs and links to them."""
    cache = tmp_path / "hub"
    repository = cache / "models--org--tiny"
    snapshot = tiny("BertModel", repository / "snapshots" / COMMIT)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(repository / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    return cache


def snapshot_of(cache):
    return cache / "models--org--tiny" / "snapshots" / COMMIT


@pytest.mark.parametrize("revision", [None, "main", "v1", COMMIT])
@pytest.mark.parametrize("name", ["org/tiny", "cache:org/tiny", "hub:org/tiny"])
def test_a_model_in_the_cache_is_found_without_a_network(cached, load, expected, name, revision, vector):
    llm = load(name, download_dir=str(cached), revision=revision)
    assert llm.model_config.identity.source == ("hub" if name.startswith("hub") else "cache")
    assert Path(llm.model_config.identity.path) == snapshot_of(cached)
    assert np.array_equal(vector(llm), expected)


@pytest.mark.parametrize("revision", ["v2", "0" * 40, "../../../etc"])
def test_a_revision_that_is_not_in_the_cache_is_not_found(cached, revision):
    with pytest.raises(ModelNotFoundError, match=r"cache: org/tiny at revision .* is not in ") as caught:
        LLM("org/tiny", download_dir=str(cached), revision=revision)
    assert "HF_HUB_OFFLINE is set: no downloads" in str(caught.value)


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_snapshot_without_all_its_files_is_not_used(cached, missing):
    """A snapshot with only a config or a tokenizer does not hide the model in the next source."""
    (snapshot_of(cached) / missing).unlink()
    with pytest.raises(ModelNotFoundError, match="cache: "):
        LLM("cache:org/tiny", download_dir=str(cached))


def test_the_package_is_used_if_the_snapshot_has_no_weights(tmp_path, load):
    snapshot = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / COMMIT
    tiny("BertModel", snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text(COMMIT)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert load(name, download_dir=str(tmp_path)).model_config.identity.source == "cache"
    (snapshot / "model.safetensors").unlink()
    assert load(name, download_dir=str(tmp_path)).model_config.identity.source == "package"


def test_a_snapshot_with_the_transformer_in_a_subfolder_is_found(tmp_path, load):
    snapshot = tmp_path / "models--org--split" / "snapshots" / COMMIT
    tiny("BertModel", snapshot / "0_Transformer")
    write_sentence_transformers(snapshot, layout="old")
    modules = json.loads((snapshot / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (snapshot / "modules.json").write_text(json.dumps(modules))
    assert load("org/split", download_dir=str(tmp_path), revision=COMMIT).model_config.identity.source == "cache"
