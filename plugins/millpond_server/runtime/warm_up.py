"""Warm-up: a model computes a few batches before it is served, so that the first request is not slower."""

import logging
from time import perf_counter

from millpond import AsyncLLM
from millpond.pipeline.bound_task import PLUGIN
from millpond.pipeline.cache import bypass_cache
from millpond.types.errors import MillpondError
from millpond_command.cli import echo_stderr

logger = logging.getLogger(__name__)
PROMPT_LENGTHS = (8, 128, 64, 128)  # in tokens


async def warm_up(llm: AsyncLLM) -> None:
    """Compute a few batches, which also measures the model's speed. An error is logged, and the model is served.

    A model is not warmed up if all of its tasks read objects or the data of a plugin, whose fields are not known.
    """
    tasks = (task for task in llm.supported_tasks if task in llm.model_config.tasks)
    task = next((task for task in tasks if task != PLUGIN and llm.pipeline.bind(task).item_type is None), None)
    if task is None:
        return
    name = llm.model_config.model
    echo_stderr(f"warming up {name} ...")
    start = perf_counter()
    vocab_size = int(llm.model_config.hf_config.get("vocab_size") or len(PROMPT_LENGTHS) + 1)
    max_length = llm.model_config.max_model_len
    for batch in range(2):  # the first fills caches, the second is measured
        first_id = batch * len(PROMPT_LENGTHS) + 1  # the prompts differ, because equal prompts are computed once
        prompts = [
            {"prompt_token_ids": [(first_id + index) % vocab_size] * min(length, max_length)}
            for index, length in enumerate(PROMPT_LENGTHS)
        ]
        token = bypass_cache.set(True)
        try:
            await llm.encode(prompts, pooling_task=task)
        except MillpondError as error:
            logger.warning("%s could not be warmed up: %s", name, error)
            return
        finally:
            bypass_cache.reset(token)
    echo_stderr(f"warmed up {name} in {perf_counter() - start:.1f} s")
