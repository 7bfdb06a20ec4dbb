"""The conformance classes of poolers, activations, IO processors, models and tasks find what they are there to find."""

import re
import subprocess
import sys
import textwrap

import pytest

PLUGINS = '''
"""What has a fault each, and some without."""

import sys
import time
from itertools import count
from types import ModuleType

import numpy as np
import torch

from millpond import IOProcessor, PoolingParams
from millpond.engine.request import PoolingRequest, Representation
from millpond.errors import InvalidInputError
from millpond.hookspecs import hookimpl
from millpond.nn import Pooler
from millpond.outputs import EmbeddingOutput
from millpond.plugins import PluginManager
from millpond.specs import ActivationSpec, ArchitectureSpec, ConverterSpec, IOProcessorSpec, PoolerSpec, TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import (
    ActivationConformance,
    ArchitectureConformance,
    ConverterConformance,
    IOProcessorConformance,
    PoolerConformance,
    TaskConformance,
)
from millpond_models.bert import BertModel


class Mine:
    """Of a plugin with one record, which is named ``mine``."""

    fields = {}

    def plugins(self):
        manager = PluginManager()
        manager.register(self.record(name=self.name, target=self.target, **{"summary": "mine", **self.fields}))
        return manager


# --- poolers ----------------------------------------------------------------------------------------------------------


class Min(Pooler):
    def pool(self, hidden_states, metadata):
        return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(list(metadata.lengths))])


class MyPooler(Mine, PoolerConformance):
    name, record, fields = "MINE", PoolerSpec, {"tasks": ("embed",)}


class TestPoolerRight(MyPooler):
    target = Min


class TestPoolerTogether(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata) + 1e-3 * hidden_states.mean()


class TestPoolerBackwards(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata).flip(0)


class TestPoolerTooFew(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata)[:1]


class TestPoolerRows(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return list(hidden_states.split(list(metadata.lengths)))


class TestPoolerGreedy(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            found = super().pool(hidden_states, metadata)
            hidden_states.zero_()
            return found


class TestPoolerHoarder(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            self.last = hidden_states
            return super().pool(hidden_states, metadata)


class TestPoolerWhitewash(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata).nan_to_num()


class TestPoolerOneForAll(MyPooler):
    class target(Min):
        def forward(self, hidden_states, metadata):
            return self._finish(self.pool(hidden_states, metadata).float(), metadata.params[0])


class TestPoolerOfOneThread(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            self.lengths = list(metadata.lengths)
            time.sleep(0.001)
            return torch.stack([rows.amin(dim=0) for rows in hidden_states.split(self.lengths)])


class TestPoolerBlindToBfloat16(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            return super().pool(hidden_states, metadata) * (hidden_states.dtype == torch.float32)


class TestPoolerOfWholePrompts(MyPooler):
    class target(Min):
        def pool(self, hidden_states, metadata):
            if metadata.starts:
                return torch.stack([hidden_states.amin(dim=0)] * len(metadata.lengths))
            return super().pool(hidden_states, metadata)


class TestPoolerIsNone(MyPooler):
    target = len


class TestPoolerOfNoTask(MyPooler):
    target, fields = Min, {"tasks": ("rank",)}


class TestPoolerSilent(MyPooler):
    target, fields = Min, {"tasks": ("embed",), "summary": ""}


class TestPoolerHeavy(PoolerConformance):
    name = "MINE"

    def plugins(self):
        manager = PluginManager()
        manager.register_plugin(sys.modules[__name__], "heavy")
        return manager


@hookimpl
def register_poolers():
    yield PoolerSpec(name="MINE", target=Min, summary="in a module that imports torch", tasks=("embed",))


# --- activations ------------------------------------------------------------------------------------------------------


class MyActivation(Mine, ActivationConformance):
    name, record = "mine", ActivationSpec


def mine(function):
    return staticmethod(function)


class TestActivationRight(MyActivation):
    target = mine(lambda x: x / (1 + x.abs()))


class TestActivationTogether(MyActivation):
    target = mine(lambda x: x - x.mean())


class TestActivationGreedy(MyActivation):
    target = mine(lambda x: x.mul_(2))


class TestActivationWider(MyActivation):
    target = mine(lambda x: torch.cat([x, x], dim=-1))


class TestActivationOverflows(MyActivation):
    target = mine(lambda x: x.exp())


class TestActivationWhitewash(MyActivation):
    target = mine(lambda x: x.nan_to_num())


class TestActivationLastBit(MyActivation):
    target = mine(lambda x: torch.sigmoid(x))


class TestActivationOfNoOp(MyActivation):
    target, fields = mine(lambda x: x * 2), {"op": "double"}


# --- IO processors ----------------------------------------------------------------------------------------------------


class Vectors(IOProcessor):
    """A list of ids from 5 on to the sum of the vectors of pieces of four; nothing for none."""

    def parse(self, data):
        if not isinstance(data, list) or not all(type(number) is int and 5 <= number < 90 for number in data):
            raise InvalidInputError("a list of ids from 5 to 89 was wanted")
        return data

    def pre_process(self, data, params):
        wanted = (Representation("embed", params),)
        return [
            PoolingRequest(input_ids=np.array(data[start : start + 4]), representations=wanted, note=[1])
            for start in range(0, len(data), 4)
        ]

    def post_process(self, requests):
        return sum((request.results[0] for request in requests), np.zeros(32, dtype=np.float32))


class MyProcessor(Mine, IOProcessorConformance):
    name, record, fields = "mine", IOProcessorSpec, {"tasks": ("plugin",)}
    items = ([5, 6, 7], [8], [9] * 30)
    chunked = (([], 0), ([5, 6], 1), ([7] * 30, 8))
    refused = ("text", [0])


class TestProcessorRight(MyProcessor):
    target = Vectors


class TestProcessorTrusting(MyProcessor):
    refused = ()

    class target(Vectors):
        def parse(self, data):
            return data


class TestProcessorTakesAll(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            try:
                return super().parse(data)
            except InvalidInputError:
                return [5]


class TestProcessorSilent(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            try:
                return super().parse(data)
            except InvalidInputError as error:
                raise InvalidInputError("") from error


class TestProcessorMixesUp(MyProcessor):
    class target(Vectors):
        def pre_process_many(self, items):
            return super().pre_process_many(items)[::-1]


class TestProcessorSpends(MyProcessor):
    class target(Vectors):
        def post_process(self, requests):
            return super().post_process(requests) * sum(request.note.pop() for request in requests)


class TestProcessorForgetsNone(MyProcessor):
    class target(Vectors):
        def post_process(self, requests):
            return super().post_process(requests) if requests else requests[0]


class TestProcessorMiscounts(MyProcessor):
    target, chunked = Vectors, (([5, 6], 2),)


class TestProcessorByChance(MyProcessor):
    class target(Vectors):
        numbers = count()

        def pooling_params(self, given):
            return PoolingParams(use_activation=bool(next(self.numbers) % 2))


class TestProcessorRemembers(MyProcessor):
    class target(Vectors):
        calls = 0

        def post_process(self, requests):
            self.calls += 1
            return super().post_process(requests) * self.calls


class TestProcessorOfOneThread(MyProcessor):
    class target(Vectors):
        def parse(self, data):
            self.data = super().parse(data)
            time.sleep(0.001)
            return self.data

        def pre_process(self, data, params):
            time.sleep(0.001)
            return super().pre_process(self.data, params)


class TestProcessorWrongIds(MyProcessor):
    class target(Vectors):
        def pre_process(self, data, params):
            return [PoolingRequest(input_ids=data, representations=(Representation("embed", params),))]


# --- models -----------------------------------------------------------------------------------------------------------


class MyModel(Mine, ArchitectureConformance):
    name, record = "BertModel", ArchitectureSpec
    fields = {"tasks": ("embed", "token_embed"), "positions": "absolute"}


class TestModelRight(MyModel):
    target = BertModel


class TestModelTogether(MyModel):
    class target(BertModel):
        def forward(self, batch):
            x = super().forward(batch)
            return x + x.mean()


class TestModelIsOff(MyModel):
    class target(BertModel):
        def forward(self, batch):
            return super().forward(batch) * 1.001


class TestModelTakesAnything(MyModel):
    class target(BertModel):
        ignored_weights = (*BertModel.ignored_weights, "no_such.*")


class TestModelInBfloat16(MyModel):
    class target(BertModel):
        def forward(self, batch):
            return super().forward(batch) * (2 if self.ctx.dtype == torch.bfloat16 else 1) - 3


class TestModelTrains(MyModel):
    class target(BertModel):
        def load_weights(self, weights):
            placement = super().load_weights(weights)
            self.requires_grad_()
            return placement


class TestModelOfNoPooling(MyModel):
    target = BertModel
    fields = {"tasks": ("embed",), "positions": "absolute", "pooling": "MEDIAN"}


class TestModelOfNoPlace(MyModel):
    target, fields = BertModel, {"tasks": ("embed", "token_embed"), "positions": "somewhere"}


class MyConverter(Mine, ConverterConformance):
    name, record = "mine", ConverterSpec
    fields = {"architectures": ("BertForMaskedLM",), "tasks": ("embed",)}

    def checkpoint(self, folder):
        return tiny("BertModel", folder, architectures=["BertForMaskedLM"])


class TestConverterRight(MyConverter):
    target = mine(lambda kind, ctx: type("Mine", (kind,), {}))


class TestConverterChangesWhatItIsGiven(MyConverter):
    @staticmethod
    def target(kind, ctx):
        kind.mine = ctx
        return kind


class TestConverterIsNotChosen(MyConverter):
    target = mine(lambda kind, ctx: kind)
    fields = {"architectures": ("*ForYours",), "tasks": ("embed",)}
    arguments = {"hf_overrides": {"architectures": ["BertModel"]}}


class MyTask(Mine, TaskConformance):
    name, record, target = "mine", TaskSpec, EmbeddingOutput
    fields = {"io_processor": "embed"}

    def plugins(self):
        manager = super().plugins()
        manager.register(IOProcessorSpec(name="mine", target=Vectors, tasks=("mine",)))
        return manager


class TestTaskRight(MyTask):
    fields = {"io_processor": "mine"}


class TestTaskUnserved(MyTask):
    pass


class TestTaskOfNoPooling(MyTask):
    fields = {"io_processor": "mine", "default_pooling": "MEDIAN"}


class TestTaskOfTokens(MyTask):
    fields = {"io_processor": "mine", "default_pooling": "CLS", "per_token": True}


class TestTaskOfNoActivation(MyTask):
    fields = {"io_processor": "mine", "default_activation": "square"}


class TestTaskOfOthers(MyTask):
    fields = {"io_processor": "mine", "made_of": ("score",)}
'''


RIGHT = ("Pooler", "Activation", "Processor", "Model", "Converter", "Task")
FAULTS = {
    "TestPoolerTogether": {"test_batch_mates_do_not_matter[False]", "test_batch_mates_do_not_matter[True]"},
    "TestPoolerBackwards": {"test_batch_mates_do_not_matter[False]", "test_each_has_its_own_parameters"},
    "TestPoolerTooFew": {"test_one_result_a_sequence", "test_order_is_kept"},
    "TestPoolerRows": {"test_one_result_a_sequence"},
    "TestPoolerGreedy": {"test_hidden_states_stay_as_they_are"},
    "TestPoolerHoarder": {"test_nothing_of_a_batch_is_kept"},
    "TestPoolerWhitewash": {"test_what_is_no_number_is_seen_and_stays_in_its_sequence"},
    "TestPoolerOneForAll": {"test_each_has_its_own_parameters"},
    "TestPoolerOfOneThread": {"test_several_threads_may_call_it"},
    "TestPoolerBlindToBfloat16": {"test_other_dtypes_are_close"},
    "TestPoolerOfWholePrompts": {"test_a_part_of_a_prompt"},
    "TestPoolerIsNone": {"test_target_imports"},
    "TestPoolerOfNoTask": {"test_record_is_right"},
    "TestPoolerSilent": {"test_record_is_right"},
    "TestPoolerHeavy": {"test_listing_it_imports_nothing_heavy"},
    "TestActivationTogether": {"test_rows_do_not_matter_to_each_other"},
    "TestActivationGreedy": {"test_what_it_is_given_stays_as_it_is"},
    "TestActivationWider": {"test_shape_stays"},
    "TestActivationOverflows": {"test_zeros_and_huge_values"},
    "TestActivationWhitewash": {"test_what_is_no_number_is_seen"},
    "TestActivationLastBit": {"test_rows_do_not_matter_to_each_other"},
    "TestActivationOfNoOp": {"test_record_is_right"},
    "TestProcessorTrusting": {"test_rubbish_is_refused_or_served", "test_any_json_is_refused_or_served"},
    "TestProcessorTakesAll": {"test_what_it_cannot_serve_is_refused"},
    "TestProcessorSilent": {"test_what_it_cannot_serve_is_refused"},
    "TestProcessorMixesUp": {"test_items_at_fault_cost_no_other"},
    "TestProcessorSpends": {"test_an_output_can_be_made_again"},
    "TestProcessorForgetsNone": {"test_any_number_of_chunks"},
    "TestProcessorMiscounts": {"test_any_number_of_chunks"},
    "TestProcessorByChance": {"test_parameters"},
    "TestProcessorRemembers": {"test_each_item_has_its_own_output", "test_an_output_can_be_made_again"},
    "TestProcessorOfOneThread": {"test_several_threads_may_call_it"},
    "TestProcessorWrongIds": {"test_each_item_has_its_own_output", "test_rubbish_is_refused_or_served"},
    "TestModelTogether": {"test_one_output_a_prompt_in_order", "test_batches_may_be_small"},
    "TestModelIsOff": {"test_it_gives_what_transformers_gives"},
    "TestModelTakesAnything": {"test_a_checkpoint_that_does_not_fit_is_refused"},
    "TestModelInBfloat16": {"test_bfloat16_is_close"},
    "TestModelTrains": {"test_all_parameters_are_loaded_and_keep_no_gradient"},
    "TestModelOfNoPooling": {"test_record_is_right"},
    "TestModelOfNoPlace": {"test_record_is_right"},
    "TestConverterChangesWhatItIsGiven": {"test_it_is_chosen_and_leaves_the_architecture_as_it_is"},
    "TestConverterIsNotChosen": {"test_it_is_chosen_and_leaves_the_architecture_as_it_is"},
    "TestTaskUnserved": {"test_record_is_right"},
    "TestTaskOfNoPooling": {"test_record_is_right"},
    "TestTaskOfTokens": {"test_record_is_right"},
    "TestTaskOfNoActivation": {"test_record_is_right"},
    "TestTaskOfOthers": {"test_record_is_right"},
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of the tests that matter of each class, and what was said of it, in a pytest of its own."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "test_faults.py").write_text(textwrap.dedent(PLUGINS), encoding="utf-8")
    chosen = [f"Test{kind}Right" for kind in RIGHT]
    chosen += [f"{name}::{test}" for name, tests in FAULTS.items() for test in sorted(tests)]
    nodes = [f"test_faults.py::{node}" for node in chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rs", "--tb=line", "-p", "no:cacheprovider", *nodes],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    found = re.findall(r"^test_faults\.py::(\w+)::(\S+) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    by_class = {}
    for name, test, outcome in found:
        by_class.setdefault(name, {})[test] = outcome
    return by_class, done.stdout


def of(outcomes, name, *kinds):
    return {test for test, outcome in outcomes[0][name].items() if outcome in kinds}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_passes(outcomes, kind):
    assert of(outcomes, f"Test{kind}Right", "FAILED", "ERROR") == set()
    skipped = of(outcomes, f"Test{kind}Right", "SKIPPED")
    assert skipped == {"test_listing_it_imports_nothing_heavy"}  # it is registered by the running program
    assert f"Test{kind}Right" in outcomes[0]


@pytest.mark.parametrize(("name", "failing"), FAULTS.items())
def test_each_fault_is_found_where_it_is_looked_for(outcomes, name, failing):
    assert failing <= of(outcomes, name, "FAILED", "ERROR")


def test_no_class_is_forgotten(outcomes):
    written = set(re.findall(r"^class (Test\w+)", PLUGINS, re.MULTILINE))
    assert written == set(outcomes[0]) == {f"Test{kind}Right" for kind in RIGHT} | set(FAULTS)


def test_what_is_said_of_a_fault_names_it(outcomes):
    said = outcomes[1]
    for pattern in (
        r"MINE, sequence 0 of \[1, 7, .*\] among others beside alone: off by \S+ where 1e-05 is allowed",
        r"mine neither serves nor refuses None: the IO processor \S*target failed in pre_process: TypeError",
        r"mine makes 1 requests of \[5, 6\], not 2",
        r"BertModel takes a tensor that is not its own",
        r"the module test_faults imports numpy, safetensors, torch",
    ):
        assert re.search(pattern, said), pattern
