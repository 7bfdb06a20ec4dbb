"""The tasks that ModelConformance tests: those that accept its prompts."""

from dataclasses import replace

from odd_records import ACME

from millpond import LLM
from millpond.plugin.specs import IOProcessorSpec, TaskSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.model import ModelConformance
from millpond.types.errors import InvalidInputError
from millpond_io.tasks.embed import EmbedProcessor


class SeriesProcessor(EmbedProcessor):
    """Accepts no token ids."""

    def encode(self, call):
        raise InvalidInputError("expected a series", parameter="prompts")


class OwnPrompts(ModelConformance):
    """Makes the inputs of all tasks itself."""

    def prompts(self, llm):
        return [{"series": [1.0]}]


def test_tasks_that_accept_no_token_ids_need_prompts_of_the_author(tmp_path, plugin_manager):
    registry = plugin_manager.registry
    bert = registry.architectures.get("BertModel").spec
    registry.register(replace(bert, tasks=("embed", "edge")), ACME)
    registry.register(IOProcessorSpec(name="edge", target=SeriesProcessor, tasks=("edge",)), ACME)
    output = "millpond.types.outputs:EmbeddingOutput"
    registry.register(TaskSpec(name="edge", target=output, io_processor="edge"), ACME)
    with LLM(str(tiny("BertModel", tmp_path / "bert")), plugins=plugin_manager, num_workers=1) as llm:
        for kit, expected in ((ModelConformance(), ["embed"]), (OwnPrompts(), ["embed", "edge"])):
            kit.registry = lambda: registry
            assert kit.tasks(llm) == expected
