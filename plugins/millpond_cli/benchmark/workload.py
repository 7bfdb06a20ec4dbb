"""A loaded model and a workload of random token ids to run it on: what ``millpond bench`` measures."""

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

SHORTEST, LONGEST = 5, 256  # tokens of a prompt
MEDIAN, SPREAD = 45.0, 0.75  # of the log-normal distribution of lengths: its mean is about 60
SEED = 20261121


class Sample(NamedTuple):
    """One run: the number of tokens it served, and the seconds it took, of the whole process and of the clock."""

    tokens: int
    cpu: float
    wall: float


@dataclass(frozen=True, eq=False)
class Workload:
    """Prompts of mixed length, as texts have it: many are short, some are long.

    Attributes:
        prompts: The token ids of each.
    """

    prompts: tuple[tuple[int, ...], ...]

    @cached_property
    def num_tokens(self) -> int:
        """The tokens of all of them."""
        return sum(map(len, self.prompts))


def draw(num_tokens: int, *, vocab_size: int, longest: int, seed: int = SEED) -> Workload:
    """Draw prompts with so many tokens in all, and no more than it takes to reach them.

    Args:
        num_tokens: The tokens of all prompts, at least one.
        vocab_size: Token ids are smaller than that.
        longest: The most tokens of a prompt.
        seed: Another seed gives other prompts.
    """
    rng = np.random.default_rng(seed)
    most = min(LONGEST, longest)
    prompts: list[tuple[int, ...]] = []
    left = num_tokens
    while left > 0:
        length = int(np.clip(rng.lognormal(np.log(MEDIAN), SPREAD), min(SHORTEST, most), most))
        prompts.append(tuple(rng.integers(vocab_size, size=min(length, left)).tolist()))
        left -= length
    return Workload(tuple(prompts))


class Bench:
    """A model that is loaded, with workers to run it on; ``close()`` ends them.

    Attributes:
        loaded: The model.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._pipeline = Pipeline(loaded.context, deduplicate=False)
        self._runners: dict[int | None, Runner] = {}
        self._requests: dict[Workload, list[PoolingRequest]] = {}

    def draw(self, num_tokens: int) -> Workload:
        """A workload that suits the model.

        Raises:
            CommandError: Its files do not say how large the vocabulary is.
        """
        size = self.loaded.config.hf_config.get("vocab_size")
        if type(size) is not int and self.loaded.tokenizer is not None:
            size = self.loaded.tokenizer.backend.get_vocab_size()
        if type(size) is not int or size < 1:
            message = "neither config.json nor a tokenizer says how large the vocabulary is: there is nothing to draw"
            raise CommandError(message, hint="""--hf-overrides '{"vocab_size": N}' says it""")
        return draw(num_tokens, vocab_size=size, longest=self.loaded.config.max_model_len)

    def run(self, workload: Workload, *, max_num_batched_tokens: int, num_workers: int | None = None) -> Sample:
        """Serve a workload once.

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
            while engine.has_work:
                engine.step()
            sample = Sample(workload.num_tokens, time.process_time() - cpu, time.perf_counter() - wall)
        finally:
            engine.abort()
        _check(requests, engine, config)
        return sample

    def close(self) -> None:
        """End the workers."""
        for runner in self._runners.values():
            runner.close()

    def _runner(self, num_workers: int | None) -> Runner:
        if num_workers not in self._runners:
            device = self.loaded.context.device
            self._runners[num_workers] = Runner(self.loaded.model, device=device, num_workers=num_workers)
        return self._runners[num_workers]

    def _prepared(self, workload: Workload) -> list[PoolingRequest]:
        """The requests of a workload, longest first as ``LLM`` hands them over."""
        if workload not in self._requests:
            task, items = self._pipeline.split([*map(list, workload.prompts)], None, self._task())
            made = [job.requests for job in task.encode(range(len(items)), items)]
            in_order = sorted((request for requests in made for request in requests), key=lambda it: -it.num_tokens)
            self._requests[workload] = in_order
        return self._requests[workload]

    def _task(self) -> str:
        """A task with one result a prompt, if the model serves one: what comes behind the model is little then."""
        tasks, registry = self.loaded.config.tasks, self.loaded.context.registry
        return next((task for task in tasks if not registry.tasks.get(task).spec.per_token), tasks[0])


def _check(requests: list[PoolingRequest], engine: Engine, config: EngineConfig) -> None:
    """Refuse a run that failed, or that ran otherwise than it was to."""
    for request in requests:
        if request.error is not None:
            raise request.error
    if engine.scheduler.max_num_batched_tokens != config.max_num_batched_tokens:
        message = f"batches of {config.max_num_batched_tokens} tokens do not fit into memory"
        raise CommandError(message)
