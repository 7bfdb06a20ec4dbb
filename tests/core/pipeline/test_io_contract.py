"""The contract of IO processors: shared sequences, windows, options, and plugins of the contract before 0.2."""

import asyncio
import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from millpond import LLM, AsyncLLM, IOProcessor, PoolingParams
from millpond.compat.io_contract import is_old, warn_of_old
from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Work
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import IOProcessorSpec, TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.types.errors import ComponentError, InvalidInputError, PluginError
from millpond.types.outputs import PoolingOutput


class ScaleOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Distance(Work):
    scale: float


class Distances(IOProcessor):
    """Token ids to the distance of their vector from that of the id 5, which all items of a call share."""

    Options = ScaleOptions
    windows = None

    def encode(self, call):
        if self.windows is not None:
            self.windows.append(len(call.items))
        return [self.work(call, item) for item in call.items]

    def work(self, call, item):
        if item.data["ids"] == []:
            return Work(error=InvalidInputError("no ids"))
        if item.data["ids"] == [6]:
            raise KeyError("six")
        anchor = call.shared.setdefault("anchor", self.sequence([5], item.asked))
        sequence = self.sequence(item.data["ids"], item.asked)
        return Distance(sequences=(anchor, sequence), scale=item.asked.options.scale)

    def sequence(self, ids, asked):
        return PoolingRequest(input_ids=np.array(ids), representations=(Representation("embed", asked.params),))

    def decode(self, work):
        anchor, vector = (sequence.results[0] for sequence in work.sequences)
        return float(np.linalg.norm(anchor - vector)) * work.scale


class Old(IOProcessor):
    """The same by the contract before 0.2, and by the built-in IO processor of embeddings."""

    def __init__(self, ctx):
        super().__init__(ctx)
        self.embed = ctx.io_processor("embed", task="embed")

    def parse(self, data):
        return [self.embed.parse(ids) for ids in ([5], data["ids"])]

    def pre_process(self, data, params):
        params = self.embed.pooling_params(None)
        requests_of_prompts = self.embed.pre_process_many([(prompt, params) for prompt in data])
        for one in requests_of_prompts:
            if isinstance(one, InvalidInputError):
                raise one
        return [request for requests in requests_of_prompts for request in requests]

    def post_process(self, requests):
        anchor, vector = (self.embed.post_process([request]).array for request in requests)
        return float(np.linalg.norm(anchor - vector))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("contract") / "bert"))


@pytest.fixture(scope="module")
def plugins():
    manager = PluginManager()
    for kind in (Distances, Old):
        manager.register(IOProcessorSpec(name=kind.__name__.lower(), target=kind, tasks=("plugin",)))
    return manager


@pytest.fixture(scope="module")
def llm(folder, plugins):
    with LLM(folder, plugins=plugins, io_processor_plugin="distances", num_workers=1) as llm:
        yield llm


def data(*ids):
    return {"data": {"ids": list(ids)}}


def ask(llm, prompts, **options):
    return llm.encode(prompts, pooling_task="plugin", use_tqdm=False, **options)


def test_a_sequence_that_windows_share_is_computed_once(llm, monkeypatch):
    windows, added = [], []
    processor = llm.pipeline.processor("plugin")
    monkeypatch.setattr(processor, "windows", windows)
    add = Engine.add
    monkeypatch.setattr(Engine, "add", lambda engine, request: added.append(request) or add(engine, request))
    outputs = ask(llm, [data(7 + number % 80) for number in range(200)])
    assert len(windows) > 1
    assert sum(windows) == 200
    assert len(added) == 201
    assert len({id(request) for request in added}) == 201
    alone = [ask(llm, data(7 + number))[0].outputs for number in range(5)]
    assert [output.outputs for output in outputs[:5]] == pytest.approx(alone, abs=1e-5)


def test_failing_items_do_not_affect_others(llm):
    good, empty, broken, other = ask(llm, [data(7), data(), data(6), data(8)], on_error="return")
    assert isinstance(empty.error, InvalidInputError)
    assert str(empty.error) == "prompt 1: no ids"
    assert isinstance(broken.error, ComponentError)
    assert "failed in encode: KeyError: 'six'" in str(broken.error)
    assert good.outputs > 0
    assert other.outputs > 0


def test_options_of_the_class_are_validated(llm):
    (plain,) = ask(llm, data(7))
    (scaled,) = ask(llm, data(7), scale=3)
    assert scaled.outputs == pytest.approx(3 * plain.outputs)
    params = [PoolingParams(extra_kwargs={"scale": scale}) for scale in (1, 2)]
    one, two = ask(llm, [data(7), data(7)], pooling_params=params)
    assert two.outputs == pytest.approx(2 * one.outputs)
    with pytest.raises(InvalidInputError, match=r"Unknown option 'scales' .* Did you mean 'scale'"):
        ask(llm, data(7), pooling_params=PoolingParams(extra_kwargs={"scales": 1}))


def test_calls_that_are_encoded_together_online_share_nothing(folder, plugins):
    async def main():
        async with AsyncLLM(folder, plugins=plugins, io_processor_plugin="distances", num_workers=1) as llm:
            calls = [llm.encode([data(7), data(8)], pooling_task="plugin") for _ in range(4)]
            return await asyncio.gather(*calls)

    answers = [[output.outputs for output in outputs] for outputs in asyncio.run(main())]
    assert all(answer == pytest.approx(answers[0], abs=1e-6) for answer in answers)


def test_a_plugin_of_the_old_contract_works_with_a_warning(llm, folder, plugins):
    with LLM(folder, plugins=plugins, io_processor_plugin="old", num_workers=1) as old:
        with pytest.warns(
            DeprecationWarning, match=r"'old' of plugin runtime .*Old\) implements the IO contract of"
        ) as seen:
            outputs = ask(old, [data(7), data(8)])
        assert len(seen) == 1
        expected = [output.outputs for output in ask(llm, [data(7), data(8)])]
        assert [output.outputs for output in outputs] == pytest.approx(expected, abs=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refused, good = ask(old, [data(10**6), data(9)], on_error="return")
    assert "out of vocabulary" in str(refused.error)
    assert good.outputs > 0


def task_with(**fields):
    """Plugins with a task of the built-in IO processor of embeddings."""
    manager = PluginManager(ranks=("builtin",))
    manager.register(TaskSpec(name="embed", target="builtins:object", io_processor="embed", method="odd", **fields))
    return manager


@pytest.mark.parametrize("options", [int, len])
def test_options_that_are_not_a_model_are_refused_by_name(folder, options):
    expected = "task 'embed' of plugin runtime: its options must be a pydantic model; got "
    with pytest.raises(PluginError, match=expected), LLM(folder, plugins=task_with(options=options)) as llm:
        llm.encode([5], pooling_task="embed")


def test_an_output_of_another_type_is_refused_by_name(folder):
    expected = "task 'embed' of plugin runtime: its output must be a subclass of PoolingRequestOutput; got "
    with LLM(folder, plugins=task_with(output=int)) as llm, pytest.raises(PluginError, match=expected):
        llm.odd([5])


def decoding(name, decode, target="millpond.types.outputs:EmbeddingOutput"):
    """Plugins with a task whose IO processor returns the result of ``decode`` for the first array of a work."""
    methods = {"decode": lambda self, work: decode(work.sequences[0].results[0]), "encode": encode_ids}
    manager = PluginManager()
    manager.register(IOProcessorSpec(name="mine", target=type(name, (IOProcessor,), methods), tasks=("mine",)))
    manager.register(TaskSpec(name="mine", target=target, io_processor="mine", derived_from=("embed",), method="mine"))
    return manager


def encode_ids(self, call):
    """Return one sequence for the token ids of each item."""
    return [
        Work(
            sequences=(
                PoolingRequest(
                    input_ids=np.array(item.data),
                    representations=(Representation("embed", PoolingParams(task="embed")),),
                ),
            )
        )
        for item in call.items
    ]


def test_an_output_of_another_type_than_the_target_is_an_error_of_its_item(folder):
    calls = itertools.count()

    def decode(array):
        return {"vector": array} if next(calls) == 1 else PoolingOutput(array)

    with LLM(folder, plugins=decoding("Wrong", decode), num_workers=1) as llm:
        good, bad, other = llm.mine([[5], [6], [7]], use_tqdm=False, on_error="return")
        assert isinstance(bad.error, ComponentError)
        assert (good.error, other.error) == (None, None)
        assert str(bad.error) == (
            "prompt 1: the IO processor 'mine' of plugin runtime broke its contract: decode returned a dict for the "
            "task 'mine'; expected millpond.types.outputs.ArrayOutput"
        )


def test_an_output_of_a_subclass_of_the_target_is_accepted(folder):
    class Number(float):
        """A subclass of the target."""

    plugins = decoding("Right", lambda array: Number(array.sum()), target="builtins:float")
    with LLM(folder, plugins=plugins, num_workers=1) as llm:
        (output,) = llm.mine([5], use_tqdm=False)
        assert isinstance(output.outputs, Number)


def test_a_step_that_is_not_implemented_is_named(folder):
    manager = PluginManager()
    partial = type("Partial", (IOProcessor,), {"encode": lambda self, call: [Work() for _ in call.items]})
    manager.register(IOProcessorSpec(name="partial", target=partial, tasks=("plugin",)))
    with (
        LLM(folder, plugins=manager, io_processor_plugin="partial") as llm,
        pytest.raises(ComponentError, match=r"Partial does not implement decode\(work\)"),
    ):
        llm.encode({"data": 1}, pooling_task="plugin")


class Scaled(Distances):
    """Methods of the old contract on top of the new one, as plugins derive from built-in IO processors."""

    def parse(self, data):
        return {"ids": [number + 1 for number in super().parse(data)["ids"]]}

    def post_process(self, requests):
        return 10 * super().post_process(requests)


class Derived(Scaled):
    def pooling_params(self, params):
        return super().pooling_params(params)

    def pre_process(self, data, params):
        return super().pre_process(data, params)


@pytest.mark.parametrize("kind", [Scaled, Derived])
def test_old_methods_of_a_class_derived_from_the_new_contract_are_called(llm, folder, kind):
    plugins = PluginManager()
    plugins.register(IOProcessorSpec(name="scaled", target=kind, tasks=("plugin",)))
    with LLM(folder, plugins=plugins, io_processor_plugin="scaled", num_workers=1) as old:
        with pytest.warns(DeprecationWarning, match=f"{kind.__name__}.* implements the IO contract of") as caught:
            (output,) = ask(old, [data(7)])
        assert [warning.filename for warning in caught] == [__file__]
        (scaled,) = ask(old, [data(7)], pooling_params=PoolingParams(extra_kwargs={"scale": 2}))
    (expected,) = ask(llm, [data(8)])
    assert output.outputs == pytest.approx(10 * expected.outputs, abs=1e-4)
    assert scaled.outputs == pytest.approx(20 * expected.outputs, abs=1e-4)


def test_helpers_named_like_old_methods_leave_the_new_contract():
    class Helped(Distances):
        def parse(self, data):
            return data

        def encode(self, call):
            return super().encode(call)

        def decode(self, work):
            return super().decode(work)

    class Again(IOProcessor):
        def decode(self, work):
            return self.parse(work)

        def parse(self, data):
            return data

    class Whole(Again):
        def encode(self, call):
            return []

    assert not is_old(Helped)
    assert not is_old(Whole)
    assert is_old(Scaled)
    assert is_old(Old)


def test_the_warning_of_the_old_contract_is_shown_once_for_each_class():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            warn_of_old("plugin once", Derived)
    assert [warning.filename for warning in caught] == [__file__]
