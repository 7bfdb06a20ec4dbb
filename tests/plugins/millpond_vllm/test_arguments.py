"""The table of vLLM's arguments is complete, and values without effect are accepted."""

import logging
from pathlib import Path

from millpond.loading.arguments import KNOWN, read_arguments
from millpond_vllm import arguments as vllm

DATA = Path(__file__).parents[2] / "data"


def test_every_field_of_engine_args_is_known():
    fields = (DATA / "vllm_engine_args.txt").read_text().split()
    assert len(fields) > 230
    known = {*KNOWN, *vllm.RENAMED, "model", "attention_backend"}
    assert [name for name in fields if name not in known and vllm.engine_argument(name) is None] == []


def test_every_neutral_value_is_accepted_and_needs_no_note(caplog):
    caplog.set_level(logging.INFO)
    arguments = {
        name: argument.neutral[0]
        for name, argument in vllm.ARGUMENTS.items()
        if argument.takes != "server" and isinstance(argument.neutral, tuple)
    }
    read_arguments(arguments)
    assert "vLLM arguments" not in caplog.text
