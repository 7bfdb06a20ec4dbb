"""The workload of ``millpond bench``: random token ids, and a loaded model that runs them."""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Runner
from millpond.loading.build import LoadedModel
from millpond.pipeline.pipeline import Pipeline
from millpond.types.config import EngineConfig
from millpond_command.cli import CommandError

MIN_PROMPT_TOKENS, MAX_PROMPT_TOKENS = 5, 256
MEDIAN_PROMPT_TOKENS = 45.0
LENGTH_SIGMA = 0.75  # parameter of the log-normal distribution of lengths; its mean is about 60 tokens
SEED = 20261121


class Sample(NamedTuple):
    """One run: the number of tokens, the CPU time of the process and the wall-clock time, in seconds."""

    tokens: int
    cpu: float
    wall: float


@dataclass(frozen=True, eq=False)
class Workload:
    """Prompts of different lengths: many are short, some are long.

    Attributes:
        prompts: The token ids of each prompt.
    """

    prompts: tuple[tuple[int, ...], ...]

    @cached_property
    def num_tokens(self) -> int:
        """The total number of tokens."""
        return sum(map(len, self.prompts))


def draw_workload(num_tokens: int, *, vocab_size: int, max_prompt_tokens: int, seed: int = SEED) -> Workload:
    """Draw random prompts.

    Args:
        num_tokens: The total number of tokens, at least one.
        vocab_size: The size of the vocabulary.
        max_prompt_tokens: The maximum number of tokens of a prompt.
        seed: The seed of the random generator.
    """
    rng = np.random.default_rng(seed)
    longest = min(MAX_PROMPT_TOKENS, max_prompt_tokens)
    shortest = min(MIN_PROMPT_TOKENS, longest)
    prompts: list[tuple[int, ...]] = []
    remaining = num_tokens
    while remaining > 0:
        length = int(np.clip(rng.lognormal(np.log(MEDIAN_PROMPT_TOKENS), LENGTH_SIGMA), shortest, longest))
        prompts.append(tuple(rng.integers(vocab_size, size=min(length, remaining)).tolist()))
        remaining -= length
    return Workload(tuple(prompts))


class BenchmarkModel:
    """A loaded model with its workers; ``close()`` stops them.

    Attributes:
        loaded: The model.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._pipeline = Pipeline(loaded.context, deduplicate=False)
        self._runners: dict[int | None, Runner] = {}
        self._requests: dict[Workload, list[PoolingRequest]] = {}

    def draw_workload(self, num_tokens: int) -> Workload:
        """Draw a workload for the model's vocabulary and maximum length.

        Raises:
            CommandError: The files of the model do not specify the size of the vocabulary.
        """
        size = self.loaded.context.model.hf_config.get("vocab_size")
        if type(size) is not int and self.loaded.context.tokenizer is not None:
            size = self.loaded.context.tokenizer.backend.get_vocab_size()
        if type(size) is not int or size < 1:
            message = "neither config.json nor a tokenizer specifies the size of the vocabulary"
            raise CommandError(message, hint="""specify it with --hf-overrides '{"vocab_size": N}'""")
        return draw_workload(num_tokens, vocab_size=size, max_prompt_tokens=self.loaded.context.model.max_model_len)

    def run(self, workload: Workload, *, max_num_batched_tokens: int, num_workers: int | None = None) -> Sample:
        """Run a workload once and measure it.

        Raises:
            CommandError: The batches do not fit into memory.
            MillpondError: The model fails on a prompt.
        """
        requests = self._prepared(workload)
        runner = self._runner(num_workers)
        config = EngineConfig(max_num_batched_tokens=max_num_batched_tokens)
        engine = Engine(runner, config)
        try:
            cpu, wall = time.process_time(), time.perf_counter()
            for request in requests:
                engine.add(request)
            while engine.num_unfinished:
                engine.step()
            sample = Sample(workload.num_tokens, time.process_time() - cpu, time.perf_counter() - wall)
        finally:
            engine.abort()
        _check(requests, engine, config)
        return sample

    def close(self) -> None:
        """Stop the workers."""
        for runner in self._runners.values():
            runner.close()

    def _runner(self, num_workers: int | None) -> Runner:
        if num_workers not in self._runners:
            device = self.loaded.context.device
            self._runners[num_workers] = Runner(self.loaded.model, device=device, num_workers=num_workers)
        return self._runners[num_workers]

    def _prepared(self, workload: Workload) -> list[PoolingRequest]:
        """Return the requests of a workload, sorted by length in descending order as in ``LLM``."""
        if workload not in self._requests:
            task = self._pipeline.task_of(self._task(), None)
            items = task.items([*map(list, workload.prompts)])
            requests = [it for job in task.encode(range(len(items)), items) for it in job.sequences]
            self._requests[workload] = sorted(requests, key=lambda it: -it.num_tokens)
        return self._requests[workload]

    def _task(self) -> str:
        """Return a task with one result per prompt if the model has one, because its pooling takes little time."""
        tasks, registry = self.loaded.context.model.tasks, self.loaded.context.registry
        return next((task for task in tasks if not registry.tasks.get(task).spec.per_token), tasks[0])


def _check(requests: list[PoolingRequest], engine: Engine, config: EngineConfig) -> None:
    """Raise an error if a request failed, or if the engine reduced the size of batches."""
    for request in requests:
        if request.error is not None:
            raise request.error
    if engine.scheduler.max_num_batched_tokens != config.max_num_batched_tokens:
        message = f"batches of {config.max_num_batched_tokens} tokens do not fit into memory"
        raise CommandError(message)
