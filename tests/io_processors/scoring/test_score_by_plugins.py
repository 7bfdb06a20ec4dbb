"""Scores by the vectors of another plugin's IO processor, of the contract before encode and decode."""

import numpy as np
import pytest

from millpond import LLM
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import IOProcessor
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import IOProcessorSpec
from millpond.types.outputs import EmbeddingOutput


class OldEmbed(IOProcessor):
    """Texts to vectors."""

    def parse(self, data):
        return self.ctx.tokenizer.encode_batch([data["prompt"].upper()])[0].ids

    def pre_process(self, data, params):
        ids = np.array(data, dtype=np.int64)
        return [PoolingRequest(input_ids=ids, representations=(Representation("embed", params),))]

    def post_process(self, requests):
        return EmbeddingOutput(requests[0].results[0])


@pytest.mark.filterwarnings("ignore:.*the IO contract of millpond 0.1.*:DeprecationWarning")
def test_an_embedding_processor_of_the_old_contract_is_scored_by(tiny_folder):
    plugins = PluginManager()
    plugins.register(IOProcessorSpec(name="embed", target=OldEmbed, tasks=("embed", "token_embed")))
    with LLM(str(tiny_folder), num_workers=1, plugins=plugins) as llm:
        vectors = [output.outputs.array for output in llm.embed([{"prompt": "the cat"}, {"prompt": "a dog"}])]
        (output,) = llm.score("the cat", "a dog")
    left, right = (vector / np.linalg.norm(vector) for vector in vectors)
    np.testing.assert_allclose(output.outputs.score, left @ right, rtol=1e-5)
