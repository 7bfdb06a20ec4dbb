"""Tests of the source addon_name."""

import pytest
from addon_package.source import VARIABLE
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from millpond.types.errors import ModelNotFoundError


class TestAddonNameSource(RecordConformance):
    """The requirements of the source's record."""

    kind = "source"
    name = "addon_name"


def test_models_load_by_name(tmp_path, monkeypatch):
    """The scheme selects the source."""
    tiny("BertModel", tmp_path / "mini")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with LLM("addon_name:mini") as llm:
        assert llm.model_config.identity.source == "addon_name"


@pytest.mark.parametrize("name", ["missing", "../mini"])
def test_other_names_are_not_found(tmp_path, monkeypatch, name):
    """A name cannot lead out of the folder."""
    tiny("BertModel", tmp_path / "mini")
    tmp_path.joinpath("shelf").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "shelf"))
    with pytest.raises(ModelNotFoundError):
        LLM(f"addon_name:{name}")
