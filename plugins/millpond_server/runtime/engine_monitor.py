"""EngineMonitor: detects engines that crashed or hang, reports them, and fails the requests that wait for them."""

import asyncio
import logging
import time
from collections.abc import Collection

from millpond.engine.request import PoolingRequest
from millpond.engine.runner import MAX_HOOKED_LAYERS
from millpond.pipeline.preprocessing import NUM_THREADS, THREAD_NAME_PREFIX, RunningWork
from millpond_server.runtime.ending import stack_of
from millpond_server.runtime.models import ServedModel
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
CHECK_INTERVAL_S = 0.1
UNHEALTHY_AFTER_MIN_S = 0.7  # without progress; with the checks before and after, health reports it within a second
HANG_FACTOR = 20  # a batch hangs if it makes no progress for this many times its expected duration
UNHEALTHY_FACTOR_WITH_HOOKS = 4  # smaller, because layers report progress several times in a batch
CRASH_EXIT_DELAY_S = 1.0  # between an engine's crash and the exit of the process, for the error responses
CRASH_EXIT_CODE = 70

Batch = list[PoolingRequest]
Key = tuple[object, ...]  # identifies a batch and its progress


class EngineMonitor:
    """Monitors the engines of a server.

    Args:
        state: The state of the server, which lists its unhealthy models.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._batch_ages: dict[Key, float] = {}  # seconds without progress
        self._thread_ages: dict[Key, float] = {}  # seconds that threads of IO processors have spent on one task
        self._crashed: set[str] = set()

    async def run(self) -> None:
        """Check the engines periodically until cancelled."""
        for model in self._state.models.served:
            self.attach(model)
        previous = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            now = time.monotonic()
            # While the process is suspended, engines do not compute: that time does not count.
            elapsed, previous = min(now - previous, 2 * CHECK_INTERVAL_S), now
            for model in self._state.models.served:
                try:
                    self.check(model, elapsed)
                except Exception:
                    logger.exception("checking the engine of %s failed", model.name)

    def attach(self, model: ServedModel) -> None:
        """Set the limits of a model's engine, and measure its batches."""
        model.llm.engine.max_wait_s = self._state.settings.limits.queue_wait
        model.failing_inputs.seconds = self._state.settings.limits.quarantine_seconds
        model.failing_inputs.attach(model.llm.engine)
        model.llm.engine.engine.on_batch = self._state.metrics.batch_recorder(model.name)

    def check(self, model: ServedModel, elapsed: float) -> None:
        """Update the health of a model.

        Args:
            model: The model.
            elapsed: The time since the previous check, in seconds.
        """
        if crash := model.llm.engine.crash_reason:
            self._handle_crash(model, crash)
            return
        ages = self._ages_of_batches(model, elapsed)
        stuck = [batch for batch, age in ages if batch and age > self._hang_timeout(model, batch)]
        if stuck:
            self._fail_batches(model, stuck)
        elif any(age > self._unhealthy_after(model, batch) for batch, age in ages):
            self._report_no_progress(model)
        elif hanging := self._hanging_threads(model, elapsed):
            self._report_hanging_threads(model, hanging)
        elif self._state.unhealthy.pop(model.name, None):
            self._state.refusing.discard(model.name)
            logger.warning("the engine of %s has recovered", model.name)

    def _ages_of_batches(self, model: ServedModel, elapsed: float) -> list[tuple[Batch, float]]:
        """Return the running batches and the time for which each has made no progress, in seconds.

        If requests are waiting and no batch runs or ends, the engine's loop itself hangs: this is returned as an empty
        batch.
        """
        thread, engine = model.llm.engine, model.llm.engine.engine
        batches: dict[Key, Batch] = {
            (model.name, id(batch), batch[0].state.advanced): batch for batch in engine.running if batch
        }
        if not batches and thread.pending:
            batches[model.name, engine.stats.batches, engine.stats.requests] = []
        ages = _advance(self._batch_ages, batches, model.name, elapsed)
        return [(batch, ages[key]) for key, batch in batches.items()]

    def _hanging_threads(self, model: ServedModel, elapsed: float) -> list[RunningWork]:
        """Return the work of IO processor threads that has taken too long."""
        running: dict[Key, RunningWork] = {
            (model.name, work.thread.ident, work.began): work for work in model.llm.preparing
        }
        ages = _advance(self._thread_ages, running, model.name, elapsed)
        return [work for key, work in running.items() if ages[key] > self._state.settings.limits.hang_seconds]

    def _report_hanging_threads(self, model: ServedModel, hanging: list[RunningWork]) -> None:
        """Report hanging threads of IO processors; refuse requests if no thread is left."""
        reason = f"{len(hanging)} thread{'s' if len(hanging) > 1 else ''} of its IO processors do not end"
        if self._state.unhealthy.get(model.name) != reason:
            locations = "; ".join(f"{work.thread.name} is in {stack_of(work.thread)}" for work in hanging)
            logger.error("an IO processor of %s hangs: %s", model.name, locations)
        self._state.unhealthy[model.name] = reason
        if sum(work.thread.name.startswith(THREAD_NAME_PREFIX) for work in hanging) >= NUM_THREADS:
            self._state.refusing.add(model.name)
        else:
            self._state.refusing.discard(model.name)

    def _hang_timeout(self, model: ServedModel, batch: Batch) -> float:
        """Return the time without progress, in seconds, after which a batch is failed."""
        return max(self._state.settings.limits.hang_seconds, HANG_FACTOR * self._expected_seconds(model, batch))

    def _unhealthy_after(self, model: ServedModel, batch: Batch) -> float:
        """Return the time without progress, in seconds, after which the model is reported as unhealthy."""
        engine = model.llm.engine.engine
        if not engine.throughput.rate:
            return self._state.settings.limits.hang_seconds  # the speed is not measured yet
        factor = UNHEALTHY_FACTOR_WITH_HOOKS if engine.runner.num_hooks >= MAX_HOOKED_LAYERS else HANG_FACTOR
        return max(UNHEALTHY_AFTER_MIN_S, factor * self._expected_seconds(model, batch))

    def _expected_seconds(self, model: ServedModel, batch: Batch) -> float:
        """Return the expected duration of a batch while all workers are busy."""
        engine = model.llm.engine.engine
        tokens = sum(request.num_tokens for request in batch)
        return engine.throughput.seconds_for(tokens) * engine.runner.num_workers

    def _report_no_progress(self, model: ServedModel) -> None:
        """Report a model as unhealthy; its requests continue to wait."""
        reason = "a batch makes no progress"
        if self._state.unhealthy.get(model.name) != reason:
            logger.warning("the engine of %s may hang: %s", model.name, reason)
        self._state.unhealthy[model.name] = reason
        self._state.refusing.discard(model.name)

    def _fail_batches(self, model: ServedModel, stuck: list[Batch]) -> None:
        """Fail the requests of hanging batches; if no worker is left, the waiting requests too."""
        engine = model.llm.engine
        reason = "a batch does not end" if len(stuck) == 1 else f"{len(stuck)} batches do not end"
        if self._state.unhealthy.get(model.name) != reason:
            logger.error("the engine of %s hangs: %s", model.name, reason)
        self._state.unhealthy[model.name] = reason
        # Checked first: a process whose batch is abandoned is killed, which changes the number of workers.
        is_last = len(stuck) >= engine.engine.runner.num_workers or engine.engine.is_blocked
        for batch in stuck:
            engine.abandon(batch, f"the model hangs: {reason}", may_be_cause=True)
        if is_last:
            self._state.refusing.add(model.name)
            engine.abandon(engine.waiting(), f"the model hangs: {reason}")
        else:
            self._state.refusing.discard(model.name)

    def _handle_crash(self, model: ServedModel, crash: str) -> None:
        """Exit the process: its process manager starts a new one, with new engines."""
        if model.name in self._crashed:
            return  # the exit is scheduled
        self._crashed.add(model.name)
        logger.error("the engine of %s crashed with %s; the process exits with %d", model.name, crash, CRASH_EXIT_CODE)
        self._state.unhealthy[model.name] = "its engine crashed"
        self._state.refusing.add(model.name)
        asyncio.get_running_loop().call_later(CRASH_EXIT_DELAY_S, self._state.end, CRASH_EXIT_CODE)


def _advance(ages: dict[Key, float], keys: Collection[Key], model: str, elapsed: float) -> dict[Key, float]:
    """Increase the ages of a model's keys that are still present, add new keys with age 0, and remove the others."""
    if not keys and not ages:
        return {}
    advanced = {key: ages.get(key, -elapsed) + elapsed for key in keys}
    for key in [key for key in ages if key[0] == model]:
        del ages[key]
    ages.update(advanced)
    return advanced
