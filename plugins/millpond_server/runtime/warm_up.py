"""Warming up: a model computes a little before it is served, so that the first request is no slower than the others."""

import logging
from time import perf_counter

from millpond import AsyncLLM
from millpond.pipeline.bound_task import PLUGIN
from millpond.types.errors import MillpondError
from millpond_command.cli import echo_stderr

logger = logging.getLogger(__name__)
LENGTHS = (8, 128, 64, 128)  # tokens of the prompts; all differ, for equal ones are computed once


async def warm_up(llm: AsyncLLM) -> None:
    """Have a model compute a few batches; its speed is known then. What fails is told, and no reason not to serve."""
    tasks = (task for task in llm.supported_tasks if task in llm.model_config.tasks)
    task = next((task for task in tasks if task != PLUGIN), None)  # only its IO processor knows what that one reads
    if task is None:
        return
    name = llm.model_config.model
    echo_stderr(f"warming up {name} ...")
    start = perf_counter()
    vocabulary = int(llm.model_config.hf_config.get("vocab_size") or len(LENGTHS) + 1)
    longest = llm.model_config.max_model_len
    for turn in range(2):  # the first fills caches, the second is measured
        prompts = [
            {"prompt_token_ids": [(turn * len(LENGTHS) + place + 1) % vocabulary] * min(length, longest)}
            for place, length in enumerate(LENGTHS)
        ]
        try:
            await llm.encode(prompts, pooling_task=task)
        except MillpondError as error:
            logger.warning("%s could not be warmed up: %s", name, error)
            return
    echo_stderr(f"warmed up {name} in {perf_counter() - start:.1f} s")
