"""``pooling_task="plugin"``: a third-party IO processor, selected by name; its errors affect only their prompt."""

import asyncio
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from millpond import LLM, AsyncLLM, IOProcessor, PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Job
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import IOProcessorSpec
from millpond.testing.checkpoints import tiny
from millpond.types.errors import ComponentError, EngineError, InvalidInputError, UnknownNameError
from millpond.types.outputs import EmbeddingOutput, PoolingOutput, PoolingRequestOutput

PIECE = 4  # tokens of a chunk
NO_DATA = (
    "The 'data' field of the prompt is expected to contain the prompt data and it cannot be None. "
    "Refer to the documentation of the IOProcessor in use for more details."
)


class PanicError(BaseException):
    """As libraries written in Rust raise it: no ``Exception``."""


@dataclass(eq=False, kw_only=True, slots=True)
class DigestJob(Job):
    data: dict


class Digest(IOProcessor):
    """``{"ids": [...], "want": [...]}`` to the mean of each wanted task over chunks of ``PIECE`` tokens.

    ``"fail"`` names the step in which it fails, ``"break"`` the promise that it breaks.
    """

    def complete(self, call):
        unit = (call.params.extra_kwargs or {}).get("unit", True)
        return replace(call, params=call.params.model_copy(update={"task": "embed", "use_activation": unit}))

    def encode(self, call):
        return [self.job(data, call.params) for data in call.prompts]

    def job(self, data, params):
        if not isinstance(data, dict) or not isinstance(data.get("ids"), list):
            return Job(error=InvalidInputError('expected {"ids": [...]}', parameter="data"))
        if data.get("fail") == "encode":
            raise KeyError("size")
        if data.get("fail") == "refused":
            raise InvalidInputError("too many bands")
        if data.get("fail") == "panic":
            raise PanicError("index out of bounds")
        if data.get("break") == "no job":
            return [data]
        return DigestJob(sequences=self.sequences(data, params), data=data)

    def sequences(self, data, params):
        ids, wanted = data["ids"], tuple(Representation(task, params) for task in data.get("want", ["embed"]))
        pieces = [np.array(ids[start : start + PIECE]) for start in range(0, len(ids), PIECE)]
        requests = [PoolingRequest(input_ids=piece, representations=wanted) for piece in pieces]
        broken = data.get("break")
        return {
            None: tuple(requests),
            "no tuple": requests,
            "no requests": tuple(pieces),
            "a list of ids": (PoolingRequest(input_ids=ids, representations=wanted),),
            "other ids": (PoolingRequest(input_ids=np.array(ids, dtype=np.int32), representations=wanted),),
            "no ids": (PoolingRequest(input_ids=np.array([], dtype=np.int64), representations=wanted),),
            "types": (PoolingRequest(input_ids=np.array(ids), token_type_ids=np.array([0]), representations=wanted),),
            "another task": (
                PoolingRequest(input_ids=np.array(ids), representations=(Representation("rank", params),)),
            ),
            "no representation": (PoolingRequest(input_ids=np.array(ids), representations=("embed",)),),
            "an id too high": (PoolingRequest(input_ids=np.array([99999]), representations=wanted),),
            "an id below 0": (PoolingRequest(input_ids=np.array([-1]), representations=wanted),),
            "too many ids": (PoolingRequest(input_ids=np.full(5000, 5), representations=wanted),),
            "too many in a group": (PoolingRequest(input_ids=np.full(5000, 5), representations=wanted, group="tiles"),),
            "a span too far": (
                PoolingRequest(input_ids=np.array(ids), representations=(Representation("embed", params, (1, 99)),)),
            ),
        }[broken]

    def decode(self, job):
        requests = job.sequences
        if job.data.get("fail") == "decode":
            raise IndexError("no band 7")
        if job.data.get("fail") == "exit":
            raise SystemExit(3)
        slots = range(len(requests[0].results) if requests else 0)
        means = [float(np.mean([request.results[slot].mean(0) for request in requests])) for slot in slots]
        return {"chunks": len(requests), "mean": means}


class Vectors(IOProcessor):
    """Token ids to an output of one of Millpond's own types."""

    def encode(self, call):
        return [self.job(np.array(data), call.params) for data in call.prompts]

    def job(self, ids, params):
        return Job(sequences=(PoolingRequest(input_ids=ids, representations=(Representation("embed", params),)),))

    def decode(self, job):
        return EmbeddingOutput(job.sequences[0].results[0])


class Stubborn(Vectors):
    """Serves no model."""

    @classmethod
    def refusal(cls, ctx):
        return f"there are no bands in {ctx.model.architecture}"


class Careless(Vectors):
    """Returns invalid parameters."""

    def complete(self, call):
        return {} if call.params.extra_kwargs is None else {}["unit"]


class Lossy(Vectors):
    """Drops the first of several prompts."""

    def encode(self, call):
        return super().encode(call)[1:]


SPECS = [
    IOProcessorSpec(name=kind.__name__.lower(), target=kind, tasks=("plugin",))
    for kind in (Digest, Vectors, Stubborn, Careless, Lossy)
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("plugin") / "bert"))


@pytest.fixture(scope="session")
def manager():
    plugin_manager = PluginManager()
    for spec in SPECS:
        plugin_manager.register(spec)
    return plugin_manager


@pytest.fixture(scope="session")
def digest(folder, manager):
    with LLM(folder, plugins=manager, io_processor_plugin="digest", num_workers=1) as llm:
        yield llm


def ask(llm, prompts, **options):
    return llm.encode(prompts, pooling_task="plugin", use_tqdm=False, **options)


# --- what comes back --------------------------------------------------------------------------------------------------


def test_one_item_has_one_output_of_the_plugins_type(digest):
    (output,) = ask(digest, {"data": {"ids": [5, 6, 7]}})
    assert type(output) is PoolingRequestOutput
    assert (output.request_id, output.prompt_token_ids, output.finished, output.error) == ("", [], True, None)
    assert output.outputs["chunks"] == 1
    assert digest.supported_tasks[-1] == "plugin"


def test_a_list_has_one_output_per_item_in_order(digest):
    lengths = (3, 0, 9, 4, 30, 1)
    outputs = ask(digest, [{"data": {"ids": list(range(5, 5 + length))}} for length in lengths])
    assert [output.outputs["chunks"] for output in outputs] == [1, 0, 3, 1, 8, 1]


def test_an_output_of_a_built_in_type_is_unchanged(folder, manager):
    with LLM(folder, plugins=manager, io_processor_plugin="vectors", num_workers=1) as llm:
        (output,) = ask(llm, {"data": [5, 6]})
        (plain,) = llm.embed([[5, 6]], use_tqdm=False)
    assert type(output.outputs) is EmbeddingOutput
    assert output.outputs == plain.outputs


def test_the_plugin_chooses_tasks_and_completes_parameters(digest):
    ids = list(range(5, 16))
    (unit,) = ask(digest, {"data": {"ids": ids[:4]}})
    (raw,) = ask(digest, {"data": {"ids": ids[:4]}}, pooling_params=PoolingParams(extra_kwargs={"unit": False}))
    (rows,) = ask(digest, {"data": {"ids": ids[:4], "want": ["token_embed", "embed"]}})
    (expected,) = digest.encode([ids[:4]], pooling_task="token_embed", use_tqdm=False)
    np.testing.assert_allclose(rows.outputs["mean"][0], expected.outputs.array.mean(), atol=1e-6)
    (vector,) = digest.embed([ids[:4]], use_tqdm=False)
    np.testing.assert_allclose(unit.outputs["mean"][0], vector.outputs.array.mean(), atol=1e-6)
    (bare,) = digest.embed([ids[:4]], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    np.testing.assert_allclose(raw.outputs["mean"][0], bare.outputs.array.mean(), atol=1e-6)


def test_parameters_may_be_one_for_each_item(digest):
    item = {"data": {"ids": [5, 6, 7]}}
    own_params = [PoolingParams(extra_kwargs={"unit": unit}) for unit in (True, False)]
    together = ask(digest, [item, item], pooling_params=own_params)
    alone = [ask(digest, item, pooling_params=params)[0] for params in own_params]
    assert [output.outputs for output in together] == [output.outputs for output in alone]
    assert together[0].outputs != together[1].outputs


def test_the_task_may_be_the_models_default(folder, manager):
    settings = {"plugins": manager, "io_processor_plugin": "digest", "num_workers": 1}
    with LLM(folder, pooler_config={"task": "plugin"}, **settings) as llm:
        (output,) = llm.encode({"data": {"ids": [5]}}, use_tqdm=False)
    assert output.outputs["chunks"] == 1


def test_the_other_tasks_of_the_model_are_also_served(digest):
    (output,) = digest.encode([[5, 6, 7]], pooling_task="embed", use_tqdm=False)
    assert isinstance(output.outputs, PoolingOutput)
    assert output.request_id != ""
    assert output.prompt_token_ids == [5, 6, 7]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_no_data_is_refused(digest):
    with pytest.raises(InvalidInputError, match=NO_DATA) as caught:
        ask(digest, {"data": None})
    assert caught.value.parameter == "data"


@pytest.mark.parametrize("task", ["embed", "token_embed"])
def test_data_for_another_task_is_refused(digest, task):
    message = "The 'data' field is only supported for the 'plugin' pooling task."
    with pytest.raises(InvalidInputError, match=message):
        digest.encode({"data": {"ids": [5]}}, pooling_task=task, use_tqdm=False)


@pytest.mark.parametrize("prompt", ["text", [1, 2], {"prompt": "text"}, 3, {}])
def test_invalid_data_is_refused(digest, prompt):
    with pytest.raises(InvalidInputError, match=r"takes \{\"data\": \.\.\.\}|expected a str, a list"):
        ask(digest, prompt)


def test_the_error_of_a_model_without_a_plugin_states_how_to_name_one(folder, manager):
    with LLM(folder, plugins=manager, num_workers=1) as llm:
        assert "plugin" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match=r"No IOProcessor plugin installed.*io_processor_plugin='NAME'"):
            ask(llm, {"data": 1})


def test_a_plugin_that_does_not_serve_the_model_states_the_reason(folder, manager):
    with LLM(folder, plugins=manager, io_processor_plugin="stubborn", num_workers=1) as llm:
        assert "plugin" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match="there are no bands in BertModel"):
            ask(llm, {"data": 1})


# --- how it is named --------------------------------------------------------------------------------------------------


def test_config_json_names_it_and_the_argument_wins(tmp_path, manager):
    folder = tiny("BertModel", tmp_path / "named", io_processor_plugin="vectors")
    with LLM(str(folder), plugins=manager, num_workers=1) as llm:
        (output,) = ask(llm, {"data": [5, 6]})
        assert type(output.outputs) is EmbeddingOutput
    with LLM(str(folder), plugins=manager, io_processor_plugin="digest", num_workers=1) as llm:
        (output,) = ask(llm, {"data": {"ids": [5, 6]}})
        assert output.outputs["chunks"] == 1
    with LLM(str(folder), plugins=manager, hf_overrides={"io_processor_plugin": "runtime/digest"}) as llm:
        (output,) = ask(llm, {"data": {"ids": [5, 6]}})
        assert output.outputs["chunks"] == 1


@pytest.mark.parametrize("name", ["terra", "embed"])  # the second is there, and serves another task
def test_a_missing_plugin_is_reported_when_the_model_is_loaded(folder, manager, name):
    message = (
        f"The model requires the '{name}' IO Processor plugin but it is not installed. "
        r"Available plugins: \['bge_m3_sparse_plugin', 'careless', 'colbert_query_plugin', 'digest', 'lossy', "
        r"'stubborn', 'vectors'\]"
    )
    with pytest.raises(UnknownNameError, match=message):
        LLM(folder, plugins=manager, io_processor_plugin=name)


def test_a_missing_plugin_is_an_error_when_the_model_is_loaded(tmp_path):
    folder = tiny("BertModel", tmp_path / "named", io_processor_plugin="terra")
    alone = PluginManager(ranks=("builtin",), disabled=("io_processors",))
    with pytest.raises(UnknownNameError, match=r"No IOProcessor plugins installed but one is required \(terra\)\."):
        LLM(str(folder), plugins=alone)


# --- what its errors cost ---------------------------------------------------------------------------------------------

OF = "the IO processor 'digest' of plugin runtime "
HINT = ". It should raise InvalidInputError for input that it does not support"
FAILURES = [
    ({"ids": "abc"}, InvalidInputError, r'expected \{"ids": \[\.\.\.\]\}'),
    ({"fail": "refused"}, InvalidInputError, "too many bands"),
    ({"fail": "encode"}, ComponentError, f"{OF}failed in encode: KeyError: 'size'{HINT}"),
    ({"fail": "decode"}, ComponentError, f"{OF}failed in decode: IndexError: no band 7$"),
    ({"fail": "panic"}, ComponentError, f"{OF}failed in encode: PanicError: index out of bounds{HINT}"),
    ({"fail": "exit"}, ComponentError, f"{OF}failed in decode: SystemExit: 3$"),
    ({"break": "no job"}, ComponentError, f"{OF}broke.*must return a list of Job; it contains list"),
    (
        {"break": "no tuple"},
        ComponentError,
        f"{OF}broke.*must be a tuple of PoolingRequest; got",
    ),
    ({"break": "no requests"}, ComponentError, f"{OF}broke.*must be a tuple of PoolingRequest; got .*array"),
    ({"break": "a list of ids"}, ComponentError, r"input_ids must be a numpy array \[num_tokens\] of int64; got list"),
    ({"break": "other ids"}, ComponentError, r"of int64; got ndarray \[3\] of int32"),
    (
        {"break": "no ids"},
        ComponentError,
        "its input_ids are empty. For a model that reads only features, the ids may be",
    ),
    (
        {"break": "types"},
        ComponentError,
        r"token_type_ids must be like input_ids, int64 \[3\], or None; got ndarray \[1\]",
    ),
    (
        {"break": "another task"},
        ComponentError,
        r"names the task 'rank', for which .* it has: \('embed', 'token_embed'\)",
    ),
    ({"break": "no representation"}, ComponentError, r"must be Representation\(task, params, span\); got 'embed'"),
    ({"break": "a span too far"}, ComponentError, r"names the span \(1, 99\), but the request has 3 tokens"),
    (
        {"break": "an id too high"},
        ComponentError,
        f"{OF}broke.*token id 99999 is not in the vocabulary: ids go from 0 to",
    ),
    ({"break": "an id below 0"}, ComponentError, f"{OF}broke.*token id -1 is not in the vocabulary: ids go from 0 to"),
    ({"break": "too many ids"}, ComponentError, f"{OF}broke.*a request has 5000 tokens; the model reads at most "),
    (
        {"break": "too many in a group"},
        ComponentError,
        f"{OF}broke.*a request has 5000 tokens; the model reads at most ",
    ),
]


@pytest.mark.parametrize(("fault", "kind", "message"), FAILURES)
def test_an_error_affects_only_its_item_and_contains_its_index(digest, fault, kind, message):
    good = [{"data": {"ids": list(range(5, 5 + length))}} for length in (3, 9)]
    prompts = [good[0], {"data": {"ids": [5, 6, 7], **fault}}, good[1]]
    first, failed, last = ask(digest, prompts, on_error="return")
    assert [first.outputs, last.outputs] == [output.outputs for output in ask(digest, good)]
    assert (first.error, failed.outputs, last.error) == (None, None, None)
    with pytest.raises(kind, match=rf"^prompt 1: .*{message}") as caught:
        raise failed.error
    assert type(caught.value) is kind
    with pytest.raises(kind, match=message):
        ask(digest, prompts)


def test_an_invalid_item_does_not_affect_others(digest):
    prompts = [{"data": {"ids": [5]}}, {"data": None}, {"prompt": "text"}]
    first, no_data, text = ask(digest, prompts, on_error="return")
    assert first.outputs["chunks"] == 1
    assert str(no_data.error) == f"prompt 1: {NO_DATA}"
    assert str(text.error) == 'prompt 2: the "plugin" pooling task takes {"data": ...}; got dict'


def test_unknown_parameters_are_reported(folder, manager):
    with LLM(folder, plugins=manager, io_processor_plugin="careless", num_workers=1) as llm:
        with pytest.raises(EngineError, match=r"careless' of plugin runtime broke.*must return Call; it returned dict"):
            ask(llm, {"data": [5]})
        with pytest.raises(EngineError, match=r"careless' of plugin runtime failed in complete: KeyError: 'unit'"):
            ask(llm, {"data": [5]}, pooling_params=PoolingParams(extra_kwargs={"unit": 1}))


def test_a_wrong_number_of_works_is_reported(folder, manager):
    with LLM(folder, plugins=manager, io_processor_plugin="lossy", num_workers=1) as llm:
        outputs = ask(llm, [{"data": [5]}, {"data": [6]}], on_error="return")
    for index, output in enumerate(outputs):
        assert str(output.error).startswith(f"prompt {index}: the IO processor ")
        assert "must return one Job per item; for 2 items it returned 1" in str(output.error)


# --- LLM and AsyncLLM -----------------------------------------------------------------------------------------------


def test_async_llm_returns_the_same(digest, folder, manager):
    prompts = [{"data": {"ids": list(range(5, 5 + length))}} for length in (3, 0, 9)]
    prompts += [{"data": {"ids": [5, 6, 7], **fault}} for fault, _, _ in FAILURES]

    async def main():
        async with AsyncLLM(folder, plugins=manager, io_processor_plugin="digest", num_workers=1) as llm:
            with pytest.raises(InvalidInputError, match=NO_DATA):
                await llm.encode({"data": None}, pooling_task="plugin")
            return await llm.encode(prompts, pooling_task="plugin", on_error="return")

    actual, expected = asyncio.run(main()), ask(digest, prompts, on_error="return")
    assert [json.dumps(str(output.error)) for output in actual] == [
        json.dumps(str(output.error)) for output in expected
    ]
    for output, twin in zip(actual, expected, strict=True):
        assert (output.request_id, output.prompt_token_ids) == ("", [])
        if output.error is None:
            assert output.outputs["chunks"] == twin.outputs["chunks"]
            np.testing.assert_allclose(output.outputs["mean"], twin.outputs["mean"], atol=1e-6)
