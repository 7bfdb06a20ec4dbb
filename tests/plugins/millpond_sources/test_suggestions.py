"""Suggestions for unknown model names: different case, a misspelled scheme."""

import pytest

from millpond.model.source import SourceOptions, find_repository
from millpond.plugin.manager import get_plugin_manager
from millpond.types.errors import ModelNotFoundError


@pytest.fixture
def missing(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def find(name):
        with pytest.raises(ModelNotFoundError) as raised:
            find_repository(get_plugin_manager().registry, name, SourceOptions(download_dir=str(tmp_path / "cache")))
        return str(raised.value)

    return find


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "All-MiniLM-L6-V2", "sentence-transformers/all-MiniLM-L6-v3"])
def test_a_packaged_model_of_nearly_that_name_is_suggested(missing, name):
    assert "did you mean 'all-MiniLM-L6-v2'?" in missing(name)


def test_a_folder_of_nearly_that_name_is_suggested(missing, tmp_path):
    (tmp_path / "My-Model").mkdir()
    assert f"did you mean {tmp_path / 'My-Model'}?" in missing(str(tmp_path / "my-model"))


def test_a_cached_hub_id_of_nearly_that_name_is_suggested(missing, tmp_path):
    (tmp_path / "cache" / "models--BAAI--bge-small-en-v1.5").mkdir(parents=True)
    assert "did you mean 'BAAI/bge-small-en-v1.5'?" in missing("baai/bge-small-en-v1.5")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pakage:all-MiniLM-L6-v2", "No source is called 'pakage'; did you mean 'package:'?"),
        ("s3:model", "No source is called 's3'. Available: cache:, hub:, package:, path:."),
    ],
)
def test_an_unknown_scheme_is_named_with_those_that_exist(missing, name, line):
    assert line in missing(name)


def test_names_unlike_any_other_get_no_suggestion(missing):
    assert "did you mean" not in missing("quite/different")
