"""Scores by the vectors of another plugin's IO processor."""

import numpy as np

from millpond import LLM
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import IOProcessor, Job
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import IOProcessorSpec
from millpond.types.outputs import EmbeddingOutput


class UpperCaseEmbed(IOProcessor):
    """Texts in capitals to vectors."""

    def encode(self, call):
        return [self.job(data, call.params) for data in call.prompts]

    def job(self, data, params):
        ids = np.array(self.ctx.tokenizer.encode_batch([data["prompt"].upper()])[0].ids, dtype=np.int64)
        return Job(sequences=(PoolingRequest(input_ids=ids, representations=(Representation("embed", params),)),))

    def decode(self, job):
        return EmbeddingOutput(job.sequences[0].results[0])


def test_scores_use_the_embedding_processor_of_a_plugin(tiny_folder):
    plugins = PluginManager()
    plugins.register(IOProcessorSpec(name="embed", target=UpperCaseEmbed, tasks=("embed", "token_embed")))
    with LLM(str(tiny_folder), num_workers=1, plugins=plugins) as llm:
        vectors = [output.outputs.array for output in llm.embed([{"prompt": "the cat"}, {"prompt": "a dog"}])]
        (output,) = llm.score("the cat", "a dog")
    left, right = (vector / np.linalg.norm(vector) for vector in vectors)
    np.testing.assert_allclose(output.outputs.score, left @ right, rtol=1e-5)
