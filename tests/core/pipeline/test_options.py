"""Options of tasks: those in ``extra_kwargs`` that a third-party pooler may read, and messages for invalid ones."""

import pytest
import torch
from pydantic import BaseModel

from millpond import LLM, EmbeddingOutput, InvalidInputError, IOProcessor, PoolingParams
from millpond.nn import Pooler
from millpond.plugin.specs import IOProcessorSpec, PoolerSpec, TaskSpec
from millpond.testing.checkpoints import tiny


class Scaled(Pooler):
    def check(self, params):
        """Accept any parameters."""

    def pool(self, hidden_states, metadata):
        rows = hidden_states.split(list(metadata.lengths))
        scales = [(params.extra_kwargs or {}).get("scale", 1) for params in metadata.params]
        return torch.stack([scale * row.sum(0) for scale, row in zip(scales, rows, strict=True)])


class FindOptions(BaseModel, frozen=True, extra="forbid"):
    labels: tuple[str, ...] = ()


class Find(IOProcessor):
    Options = FindOptions

    def encode(self, call):
        """Return no work: the options of these tests are refused before."""
        return []

    def decode(self, work):
        """Return the work."""
        return work


@pytest.fixture
def llm(plugin_manager, tmp_path):
    plugin_manager.register(PoolerSpec(name="SCALED", target=Scaled, tasks=("embed",)))
    config = {"pooling_type": "SCALED"}
    folder = str(tiny("BertModel", tmp_path / "model"))
    with LLM(folder, pooler_config=config, plugins=plugin_manager, num_workers=1) as llm:
        yield llm


def embed(llm, **options):
    params = PoolingParams(use_activation=False, extra_kwargs=options or None)
    (output,) = llm.embed(["a mill"], pooling_params=params, use_tqdm=False)
    return output.outputs.array


def test_options_of_a_third_party_pooler_reach_it(llm):
    assert embed(llm, scale=2) == pytest.approx(2 * embed(llm), rel=1e-5)


def test_a_misspelt_option_of_the_task_names_the_available_options(llm):
    message = r"Unknown option 'mixed_modalty' .*Did you mean 'mixed_modality'\? Available: .*mixed_modality"
    with pytest.raises(InvalidInputError, match=message):
        embed(llm, mixed_modalty="mean")


def test_an_option_that_must_be_a_list_names_a_list_and_not_a_tuple(plugin_manager, tmp_path):
    plugin_manager.register(TaskSpec(name="find", target=EmbeddingOutput, io_processor="find", derived_from=("embed",)))
    plugin_manager.register(IOProcessorSpec(name="find", target=Find, tasks=("find",)))
    with (
        LLM(str(tiny("BertModel", tmp_path / "model")), plugins=plugin_manager, num_workers=1) as llm,
        pytest.raises(InvalidInputError, match="labels='person': Input should be a valid list"),
    ):
        llm.encode("Ada", pooling_task="find", labels="person")
