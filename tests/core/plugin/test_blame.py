"""An IO processor, source or command that fails is reported with plugin, kind and name."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
from blame_kit import errors_of, fails, load, pooler
from typer.testing import CliRunner

from millpond import LLM, AsyncLLM, IOProcessor
from millpond.plugin.blame import blamed
from millpond.plugin.specs import (
    IOProcessorSpec,
    PoolerSpec,
    SourceSpec,
)
from millpond.types.errors import ComponentError, ModelNotFoundError
from millpond_command import cli


class RaisingProcessor(IOProcessor):
    def __init__(self, ctx):
        raise KeyError("licence")


# --- IO processors and sources ----------------------------------------------------------------------------------------


class ItemsFails(IOProcessor):
    def items(self, prompts):
        raise KeyError("licence")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (RaisingProcessor, "failed in target(ctx): KeyError: 'licence'"),
        (ItemsFails, "failed in items: KeyError: 'licence'"),
        (type("Idle", (IOProcessor,), {"encode": lambda self, call: None}), "failed in encode: TypeError: 'NoneType'"),
        (type("Endless", (IOProcessor,), {"encode": lambda self, call: repeat(1)}), "for 1 items it returned more"),
        (type("Lazy", (IOProcessor,), {}), "failed in encode: NotImplementedError"),
    ],
)
def test_an_io_processor_that_fails_is_named(folder, manager, target, message):
    record = IOProcessorSpec(name="embed", target=target, tasks=("embed",))
    with load(folder, manager, record) as llm, pytest.raises(ComponentError) as caught:
        llm.embed("a cup of tea", use_tqdm=False)
    assert "IO processor 'embed' of plugin acme" in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.plugin, caught.value.kind, caught.value.name) == ("acme", "io_processor", "embed")


def test_an_error_in_refusal_affects_only_its_own_task(folder, manager):
    class Stubborn(IOProcessor):
        @classmethod
        def refusal(cls, ctx):
            raise KeyError("licence")

    record = IOProcessorSpec(name="embed_chunks", target=Stubborn, tasks=("embed_chunks",))
    with load(folder, manager, record) as llm:
        assert errors_of(llm) == [None, None]
        assert "embed_chunks" not in llm.supported_tasks
        with pytest.raises(ValueError, match="IO processor 'embed_chunks' of plugin acme failed in refusal: KeyError"):
            llm.embed_chunks("a", chunk_tokens=2, use_tqdm=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("/no/such/folder", "returned '/no/such/folder', which does not exist"),
        (5, "returned 5, which is an int and not a path"),
        (__file__, f"returned {__file__!r}, which is not a folder"),
    ],
)
def test_a_source_that_returns_no_folder_is_named(manager, caplog, answer, message):
    manager.register(SourceSpec(name="bucket", target=lambda name, options: answer), plugin="acme")
    with pytest.raises(ModelNotFoundError, match=f"bucket: source 'bucket' of plugin acme {message}") as caught:
        LLM("bucket:model", plugins=manager)
    assert "No source is called" not in str(caught.value)
    assert f"source 'bucket' of plugin acme {message}" in caplog.text


def test_ctrl_c_is_not_blamed_on_a_component_but_an_interrupt_in_another_thread_is(manager):
    entry = manager.register(PoolerSpec(name="ODD", target=print, tasks=("embed",)), plugin="acme")

    def interrupted():
        with blamed(entry):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with ThreadPoolExecutor(1) as pool, pytest.raises(ComponentError, match=r"'ODD' .* acme .*KeyboardInterrupt"):
        pool.submit(interrupted).result()


# --- other front ends -------------------------------------------------------------------------------------------------


def test_asynchronous_calls_report_the_same(folder, manager):
    manager.register(PoolerSpec(name="ODD", target=pooler(fails), tasks=("embed",)), plugin="acme")

    async def main():
        async with AsyncLLM(folder, plugins=manager, num_workers=1, pooler_config={"seq_pooling_type": "ODD"}) as llm:
            return await llm.embed([[7], [7, 8]], on_error="return")

    for index, output in enumerate(asyncio.run(main())):
        message = f"prompt {index}: pooler 'ODD' of plugin acme failed on this request: RuntimeError: no licence"
        assert str(output.error) == message
        assert type(output.error) is ComponentError


ODD_PLUGIN = """
import typer
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec
from millpond_command.kinds import CommandSpec

app = typer.Typer()

@app.command()
def hello():
    raise KeyError("licence")

def odd(ctx):
    from millpond.nn import Pooler

    class Odd(Pooler):
        def pool(self, hidden_states, metadata):
            raise KeyError("licence")

    return Odd(ctx)

@hookimpl
def register_commands():
    yield CommandSpec(name="hello", target=f"{__name__}:app")

@hookimpl
def register_poolers():
    yield PoolerSpec(name="ODD", target=f"{__name__}:odd", tasks=("embed",))
"""


def test_a_command_that_fails_is_named(install_plugin):
    install_plugin(ODD_PLUGIN, "acme")
    done = CliRunner().invoke(cli.app, ["hello"])
    assert (done.exit_code, done.stdout) == (1, "")
    message = "error: command 'hello' of plugin acme (millpond-acme 1.0) failed: KeyError: 'licence'\n"
    assert done.stderr == f"{message}hint: set MILLPOND_DEBUG=1 to show the traceback\n"


def test_a_built_in_command_names_the_pooler_that_fails(install_plugin, folder):
    install_plugin(ODD_PLUGIN, "acme")
    done = CliRunner().invoke(cli.app, ["embed", "-m", folder, "--pooler-config", '{"pooling_type": "ODD"}', "tea"])
    assert done.exit_code == 1
    assert "pooler 'ODD' of plugin acme (millpond-acme 1.0) failed on this request: KeyError: 'licence'" in done.stderr
