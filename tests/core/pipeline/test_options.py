"""Options in ``extra_kwargs`` when a third-party pooler may read options that the task does not declare."""

import pytest
import torch

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.nn import Pooler
from millpond.plugin.specs import PoolerSpec
from millpond.testing.checkpoints import tiny


class Scaled(Pooler):
    def check(self, params):
        """Accept any parameters."""

    def pool(self, hidden_states, metadata):
        rows = hidden_states.split(list(metadata.lengths))
        scales = [(params.extra_kwargs or {}).get("scale", 1) for params in metadata.params]
        return torch.stack([scale * row.sum(0) for scale, row in zip(scales, rows, strict=True)])


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
