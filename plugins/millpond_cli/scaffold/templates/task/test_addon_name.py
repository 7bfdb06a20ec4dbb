"""Tests of the task addon_name."""

import numpy as np
import pytest
from millpond import LLM, InvalidInputError
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import IOProcessorConformance, TaskConformance


class TestAddonNameTask(TaskConformance):
    """The requirements of the task's record."""

    name = "addon_name"


class TestAddonNameProcessor(IOProcessorConformance):
    """The requirements of the IO processor."""

    name = "addon_name"


def test_bits_are_the_signs_of_the_vector(tmp_path):
    """Compare with vectors of the task embed."""
    with LLM(str(tiny("BertModel", tmp_path))) as llm:
        (output,) = llm.addon_name("a cup of tea", bits=16)
        (vector,) = llm.embed("a cup of tea")
    assert output.outputs.bits == np.packbits(vector.outputs.array[:16] > 0).tobytes().hex()


def test_more_bits_than_dimensions_are_refused(tmp_path):
    """The error names the option."""
    with LLM(str(tiny("BertModel", tmp_path))) as llm, pytest.raises(InvalidInputError, match="bits: 8000 requested"):
        llm.addon_name("a cup of tea", bits=8000)
