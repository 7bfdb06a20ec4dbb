"""Tests of the text step addon_name."""

from pathlib import Path

import numpy as np
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_text.testing import TextStepConformance


class TestAddonName(TextStepConformance):
    """The requirements of Millpond's plugin API."""

    name = "addon_name"
    texts = ("> is it deep?\ntwo metres", "a cup of tea", "> a\n> b\nthe old mill")


def test_quoted_lines_are_not_read(tmp_path: Path):
    """A reply has the vector of its own text."""
    with LLM(str(tiny("BertModel", tmp_path)), text_steps="addon_name") as llm:
        vectors = llm.embed(["> is it deep?\ntwo metres", "two metres"], output="array")
    np.testing.assert_array_equal(vectors[0], vectors[1])
