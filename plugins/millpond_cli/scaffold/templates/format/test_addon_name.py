"""Tests of the checkpoint format addon_name."""

import json

import pytest
from addon_package.format import FILE
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import RecordConformance
from millpond.types.errors import CheckpointError


class TestAddonNameFormat(RecordConformance):
    """The requirements of the format's record."""

    kind = "checkpoint_format"
    name = "addon_name"


def test_the_settings_are_used(tmp_path):
    """Pooling and prompts come from the file."""
    tiny("BertModel", tmp_path)
    tmp_path.joinpath(FILE).write_text(json.dumps({"pooling": "MAX", "prompts": {"query": "find: "}}))
    with LLM(str(tmp_path)) as llm:
        assert llm.model_config.pooler_config.seq_pooling_type == "MAX"
        assert llm.model_config.prompting.prompts == {"query": "find: "}


def test_a_damaged_file_is_named(tmp_path):
    """The error names the file."""
    tiny("BertModel", tmp_path)
    tmp_path.joinpath(FILE).write_text("[")
    with pytest.raises(CheckpointError, match=FILE):
        LLM(str(tmp_path))
