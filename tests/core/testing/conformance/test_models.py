"""ArchitectureConformance and ConverterConformance report each fault: models with one fault each."""

import re

import pytest
from tests.core.testing.conformance.fault_tests import FaultTests

pytestmark = pytest.mark.slow

PLUGINS = """

class MyModel(Mine, ArchitectureConformance):
    name, record = "BertModel", ArchitectureSpec
    fields = {"tasks": ("embed", "token_embed"), "text": TextInput(positions="absolute")}


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
            return super().forward(batch) * (2 if self.ctx.weight_dtype == torch.bfloat16 else 1) - 3


class TestModelWide(MyModel):
    class target(BertModel):
        def forward(self, batch):
            return super().forward(batch).repeat(1, 2)


class TestModelTrains(MyModel):
    class target(BertModel):
        def load_weights(self, weights):
            loaded = super().load_weights(weights)
            self.requires_grad_()
            return loaded


class TestModelOfNoPooling(MyModel):
    target = BertModel
    fields = {"tasks": ("embed",), "text": TextInput(positions="absolute"), "pooling": PoolingDefaults("MEDIAN")}


class TestModelOfNoPlace(MyModel):
    target, fields = BertModel, {"tasks": ("embed", "token_embed"), "text": TextInput(positions="somewhere")}


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
"""

RIGHT = ("Model", "Converter")
FAULTS = {
    "TestModelTogether": {"test_batches_may_be_small", "test_each_prompt_has_one_output_in_order"},
    "TestModelIsOff": {"test_results_equal_the_reference"},
    "TestModelTakesAnything": {"test_a_checkpoint_with_wrong_tensors_is_rejected"},
    "TestModelInBfloat16": {"test_bfloat16_is_close"},
    "TestModelWide": {"test_outputs_have_the_declared_size"},
    "TestModelTrains": {"test_all_parameters_are_loaded_without_gradients"},
    "TestModelOfNoPooling": {"test_record_is_right"},
    "TestModelOfNoPlace": {"test_record_is_right"},
    "TestConverterChangesWhatItIsGiven": {"test_it_is_chosen_and_does_not_change_the_architecture"},
    "TestConverterIsNotChosen": {"test_it_is_chosen_and_does_not_change_the_architecture"},
}


class TestModelFaults(FaultTests):
    plugins, right, faults = PLUGINS, RIGHT, FAULTS


def test_error_messages_name_the_fault(outcomes):
    for pattern in (r"BertModel loads an unknown tensor",):
        assert re.search(pattern, outcomes.output), pattern
