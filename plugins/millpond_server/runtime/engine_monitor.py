"""EngineMonitor: finds engines that have died or hang, reports them, and fails the requests that wait for them."""

import asyncio
import logging
import time

from millpond.engine.health import MAX_HOOKED_LAYERS
from millpond.engine.request import PoolingRequest
from millpond.pipeline.preprocessing import NUM_THREADS, THREAD_NAME_PREFIX
from millpond.pipeline.thread_activity import RunningWork
from millpond_server.runtime.models import ServedModel
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
EVERY = 0.1  # seconds
QUIET = 0.7  # seconds without progress, at the least, that health tells of: with a look before and after, within one
AS_LONG = 20  # times as long as a batch is expected to take are too long without progress
AS_LONG_FOR_A_PART = 4  # times as long, where layers tell of progress: what lies between two is a part of a batch
GRACE = 1.0  # seconds between an engine's death and the end of the process, for the answers that tell of it
CRASHED = 70  # the exit code of a process whose engine has died

Batch = list[PoolingRequest]
Key = tuple[object, ...]  # what a batch, and how far it has come, is known by again


class EngineMonitor:
    """Watches the engines of a server.

    Args:
        state: The server; what is wrong with its engines is noted there.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._ages: dict[Key, float] = {}  # of what makes no progress: seconds in which we looked
        self._thread_ages: dict[Key, float] = {}  # of what threads of IO processors do
        self._crashed: set[str] = set()

    async def run(self) -> None:
        """Look after the engines until cancelled."""
        for model in self._state.models.served:
            self.attach(model)
        before = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            now = time.monotonic()
            # A process that was stopped meanwhile has not computed: what hangs is counted in looks, not by the clock.
            elapsed, before = min(now - before, 2 * EVERY), now
            for model in self._state.models.served:
                try:
                    self.look_at(model, elapsed)
                except Exception:
                    logger.exception("looking after %s failed; the others are looked after", model.name)

    def attach(self, model: ServedModel) -> None:
        """Set the limits of a model's engine, and measure its batches."""
        model.llm.engine.max_wait_s = self._state.settings.limits.queue_wait
        model.llm.engine.failing_inputs.seconds = self._state.settings.limits.quarantine_seconds
        model.llm.engine.engine.on_batch = self._state.metrics.of_batches(model.name)

    def look_at(self, model: ServedModel, elapsed: float) -> None:
        """Find out how a model's engine is."""
        if died := model.llm.engine.crash_reason:
            self._handle_crash(model, died)
            return
        ages = self._without_progress(model, elapsed)
        stuck = [batch for batch, age in ages if batch and age > self._patience(model, batch)]
        if stuck:
            self._give_up(model, stuck)
        elif any(age > self._calm(model, batch) for batch, age in ages):
            self._suspect(model)
        elif hanging := self._hanging(model, elapsed):
            self._tell_of_threads(model, hanging)
        elif self._state.unhealthy.pop(model.name, None):
            self._state.refusing.discard(model.name)
            logger.warning("the engine of %s is well again", model.name)

    def _without_progress(self, model: ServedModel, elapsed: float) -> list[tuple[Batch, float]]:
        """The batches that run, and for how long each has made no progress.

        Where requests wait and nothing runs, and nothing ends either, the loop itself does not turn: an empty batch
        stands for it.
        """
        thread, engine = model.llm.engine, model.llm.engine.engine
        found: dict[Key, Batch] = {
            (model.name, id(batch), batch[0].state.advanced): batch for batch in engine.running if batch
        }
        if not found and thread.pending:
            found[model.name, engine.stats.batches, engine.stats.requests] = []
        others = {key: age for key, age in self._ages.items() if key[0] != model.name}
        own = {key: self._ages.get(key, -elapsed) + elapsed for key in found}
        self._ages = others | own
        return [(batch, own[key]) for key, batch in found.items()]

    def _hanging(self, model: ServedModel, elapsed: float) -> list[RunningWork]:
        """The threads of IO processors that have been at one piece of work for too long."""
        found: dict[Key, RunningWork] = {
            (model.name, work.thread.ident, work.began): work for work in model.llm.preparing
        }
        others = {key: age for key, age in self._thread_ages.items() if key[0] != model.name}
        own = {key: self._thread_ages.get(key, -elapsed) + elapsed for key in found}
        self._thread_ages = others | own
        return [work for key, work in found.items() if own[key] > self._state.settings.limits.hang_seconds]

    def _tell_of_threads(self, model: ServedModel, hanging: list[RunningWork]) -> None:
        """Tell that threads of IO processors hang; the others go on."""
        what = f"{len(hanging)} thread{'s' if len(hanging) > 1 else ''} of its IO processors do not end"
        if self._state.unhealthy.get(model.name) != what:
            places = "; ".join(f"{work.thread.name} is in {work.stack}" for work in hanging)
            logger.error("an IO processor of %s hangs: %s", model.name, places)
        self._state.unhealthy[model.name] = what
        if sum(work.thread.name.startswith(THREAD_NAME_PREFIX) for work in hanging) >= NUM_THREADS:
            self._state.refusing.add(model.name)
        else:
            self._state.refusing.discard(model.name)

    def _patience(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch may make no progress before it is given up."""
        return max(self._state.settings.limits.hang_seconds, AS_LONG * self._expected(model, batch))

    def _calm(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch may make no progress before health tells of it."""
        engine = model.llm.engine.engine
        if not engine.throughput.rate:
            return self._state.settings.limits.hang_seconds  # nothing is known of how long a batch takes
        times = AS_LONG_FOR_A_PART if engine.runner.progress.num_hooks >= MAX_HOOKED_LAYERS else AS_LONG
        return max(QUIET, times * self._expected(model, batch))

    def _expected(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch takes by the measured speed, if all workers have one."""
        engine = model.llm.engine.engine
        tokens = sum(request.num_tokens for request in batch)
        return engine.throughput.seconds_for(tokens) * engine.runner.num_workers

    def _suspect(self, model: ServedModel) -> None:
        """Tell that nothing goes on; its requests are left to wait."""
        what = "a batch makes no progress"
        if self._state.unhealthy.get(model.name) != what:
            logger.warning("the engine of %s may hang: %s", model.name, what)
        self._state.unhealthy[model.name] = what
        self._state.refusing.discard(model.name)

    def _give_up(self, model: ServedModel, stuck: list[Batch]) -> None:
        """End the requests of batches that hang; where no worker is left, those that wait behind them too."""
        engine = model.llm.engine
        what = "a batch does not end" if len(stuck) == 1 else f"{len(stuck)} batches do not end"
        if self._state.unhealthy.get(model.name) != what:
            logger.error("the engine of %s hangs: %s", model.name, what)
        self._state.unhealthy[model.name] = what
        for batch in stuck:
            engine.abandon(batch, f"the model hangs: {what}", may_be_cause=True)
        if len(stuck) >= engine.engine.runner.num_workers or engine.engine.is_blocked:
            self._state.refusing.add(model.name)
            engine.abandon(engine.waiting(), f"the model hangs: {what}")
        else:
            self._state.refusing.discard(model.name)

    def _handle_crash(self, model: ServedModel, died: str) -> None:
        """End the process: its platform starts a new one, with new engines."""
        if model.name in self._crashed:
            return  # the end is on its way
        self._crashed.add(model.name)
        logger.error("the engine of %s has died of %s; the process exits with %d", model.name, died, CRASHED)
        self._state.unhealthy[model.name] = "it has died"
        self._state.refusing.add(model.name)
        asyncio.get_running_loop().call_later(GRACE, self._state.end, CRASHED)
