"""ModelArgs: one declaration makes an argument of LLM, an option of commands and a row of the documentation."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millpond import LLM, AsyncLLM, EngineConfig
from millpond.types import model_args
from millpond.types.config import InputOptions
from millpond.types.model_args import DEFAULTS, ModelArgs, describe
from millpond_command.model_options import MODEL_OPTIONS

REPOSITORY = Path(__file__).resolve().parents[3]
DESCRIBED = """
        brand_new: An option that is new."""
ADDED = """
    brand_new: Annotated[int | None, None]"""
USES_IT = """
import importlib.util, inspect, sys
spec = importlib.util.spec_from_file_location("millpond.types.model_args", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)

from typer.main import get_command
from millpond import LLM, AsyncLLM
from millpond.loading.arguments import read_arguments
from millpond_cli.commands import embed, rerank
from millpond_server.command import serve
import reference_tables

for kind in (LLM, AsyncLLM):
    assert inspect.signature(kind).parameters["brand_new"].annotation == int | None
    assert "brand_new: An option that is new." in kind.__init__.__doc__
read_arguments({"brand_new": 3})
for command in (embed, rerank, serve):
    (option,) = [it for it in get_command(command.app).params if it.name == "brand_new"]
    assert (option.opts, option.help, option.metavar) == (["--brand-new"], "An option that is new.", "N")
assert "| `brand_new` | `None` | An option that is new. |" in [*reference_tables.argument_table("LLM")]
assert "| `--brand-new` `N` |  | An option that is new. |" in [*reference_tables.option_table("serve")]
print("everywhere")
"""


@pytest.mark.slow
def test_a_new_field_is_known_everywhere(tmp_path):
    source = Path(model_args.__file__).read_text(encoding="utf-8")
    changed = tmp_path / "model_args.py"
    for text in (DESCRIBED, ADDED):
        last = text.partition("brand_new")[0] + "tokenizer: "
        assert source.count(last) == 1
        source = source.replace(last, text + last)
    changed.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USES_IT, str(changed)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "everywhere\n", done.stderr


def test_every_option_is_of_a_type_and_has_a_description_of_sentences():
    assert {*MODEL_OPTIONS} == {*DEFAULTS}
    for name in DEFAULTS:
        assert ModelArgs.__annotations__[name].__origin__
        text = describe(name).partition(" (default: ")[0]
        assert text.endswith(".")
        assert describe(name, python=True).startswith(text)


def test_the_defaults_in_words_are_those_of_the_records():
    for name, field in EngineConfig.model_fields.items():
        if field.default is None:
            assert name in {"num_workers", "max_num_batched_tokens", "max_num_seqs"}  # the device decides
        else:
            is_same_flag = isinstance(field.default, bool) and DEFAULTS[name] is field.default
            assert is_same_flag or describe(name).endswith(f"(default: {field.default})")
    assert set(InputOptions.model_fields) < set(DEFAULTS)


@pytest.mark.parametrize("kind", [LLM, AsyncLLM])
def test_constructors_show_each_option_and_take_it_by_name(kind):
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == ["model", *DEFAULTS, "plugins", "arguments"]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in DEFAULTS)
    assert all(f"\n    {name}: " in kind.__init__.__doc__ for name in DEFAULTS)
    with pytest.raises(TypeError, match="positional"):
        kind("model", "pooling")


def test_values_that_only_python_can_pass_are_not_shown_to_commands():
    assert "PoolerConfig" in describe("pooler_config", python=True)
    assert "PoolerConfig" not in describe("pooler_config")
    assert describe("num_workers").endswith("(default: one per core)")
