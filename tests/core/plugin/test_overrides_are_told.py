"""An installed plugin that replaces a built-in component is named: when a model is loaded, and by the command line."""

import logging

import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.specs import PoolerSpec
from millpond.testing.checkpoints import tiny
from millpond_command import cli

SOURCE = """
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    IOProcessorSpec,
    PoolerSpec,
    PoolingDefaults,
    SourceSpec,
    TaskSpec,
    TextInput,
)
from millpond_command.kinds import CommandSpec
"""
RECORDS = {
    "pooler": 'PoolerSpec(name="MEAN", target="millpond_poolers.methods:MaxPooling", tasks=("embed",))',
    "activation": 'ActivationSpec(name="normalize", target="millpond_poolers.activations:identity")',
    "architecture": 'ArchitectureSpec(name="BertModel", target="millpond_models.encoders.bert.model:BertModel", '
    'tasks=("embed", "token_embed"), text=TextInput(positions="absolute"), pooling=PoolingDefaults("MEAN"))',
    "io_processor": 'IOProcessorSpec(name="embed", target="millpond_io.tasks.embed:EmbedProcessor", tasks=("embed",))',
    "source": 'SourceSpec(name="path", target="millpond_sources.path:find_folder", priority=100)',
}
NAMES = {
    "pooler": ("pooler 'MEAN'", "poolers/MEAN"),
    "activation": ("activation 'normalize'", "poolers/normalize"),
    "architecture": ("architecture 'BertModel'", "models/BertModel"),
    "io_processor": ("IO processor 'embed'", "io_processors/embed"),
    "source": ("source 'path'", "sources/path"),
}


def hook(kind, record):
    """The source of a hook that yields one record."""
    return f"{SOURCE}\n@hookimpl\ndef register_{kind}s():\n    yield {record}\n"


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT."""
    return tiny("BertModel", tmp_path / "model")


def warnings(caplog):
    """The warnings about replaced components."""
    return [it.getMessage() for it in caplog.records if it.levelno == logging.WARNING and "replaces" in it.getMessage()]


@pytest.mark.parametrize("kind", RECORDS)
def test_loading_warns_once_of_a_replaced_component(install_plugin, folder, caplog, kind):
    install_plugin(hook(kind, RECORDS[kind]), "acme", version="2.0")
    with LLM(str(folder), num_workers=1, pooler_config={"pooling_type": "MEAN"}) as llm:
        llm.embed("a cup of tea", use_tqdm=False)
    label, replaced = NAMES[kind]
    (warning,) = warnings(caplog)
    assert f"{label} of plugin acme (millpond-acme 2.0) replaces the built-in {replaced}" in warning


def test_loading_does_not_warn_about_unused_components(install_plugin, folder, caplog):
    install_plugin(hook("pooler", RECORDS["pooler"]), "acme")
    with LLM(str(folder), num_workers=1, pooler_config={"pooling_type": "CLS"}):
        pass
    assert warnings(caplog) == []


def test_loading_does_not_warn_about_a_plugin_selected_by_name(install_plugin, folder, caplog):
    install_plugin(hook("pooler", RECORDS["pooler"]), "acme")
    with LLM(str(folder), num_workers=1, pooler_config={"pooling_type": "acme/MEAN"}):
        pass
    assert warnings(caplog) == []


def test_loading_does_not_warn_about_components_that_the_program_registers(install_plugin, folder, caplog):
    install_plugin(hook("pooler", RECORDS["pooler"].replace("MEAN", "OTHER")), "acme")
    get_plugin_manager().register(
        PoolerSpec(name="MEAN", target="millpond_poolers.methods:MaxPooling", tasks=("embed",))
    )
    with LLM(str(folder), num_workers=1, pooler_config={"pooling_type": "MEAN"}):
        pass
    assert warnings(caplog) == []


def test_debug_shows_overrides_logged_while_plugins_are_loaded(install_plugin):
    install_plugin(hook("pooler", RECORDS["pooler"]), "acme")
    line = "plugin acme (millpond-acme 1.0) overrides the built-in pooler 'MEAN' (now poolers/MEAN)"
    assert line in CliRunner().invoke(cli.app, ["--debug", "plugins", "list"]).stderr
    install_plugin(hook("pooler", RECORDS["pooler"].replace("MEAN", "MAX")), "other")
    assert "overrides" not in CliRunner().invoke(cli.app, ["plugins", "list"]).stderr


def test_a_command_that_replaces_a_built_in_one_is_reported(install_plugin):
    body = 'import typer\napp = typer.Typer()\n@app.command()\ndef embed(): typer.echo("mine")\n'
    record = 'CommandSpec(name="embed", target=f"{__name__}:app")'
    install_plugin(body + hook("command", record), "acme")
    done = CliRunner().invoke(cli.app, ["embed"])
    assert (done.exit_code, done.stdout) == (0, "mine\n")
    warning = "command 'embed' of plugin acme (millpond-acme 1.0) replaces the built-in cli/embed"
    assert done.stderr == f"warning: {warning}\n"
