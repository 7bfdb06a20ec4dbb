"""Supervisor: looks after the engines: of one that has died, or hangs, all are told, and nobody waits for it."""

import asyncio
import logging
import time

from millpond.engine.progress import MARKS
from millpond.engine.request import PoolingRequest
from millpond.pipeline.busy import Work
from millpond.pipeline.preprocessing import NAME, THREADS
from millpond_server.runtime.models import ServedModel
from millpond_server.runtime.settings import Settings
from millpond_server.runtime.state import State

logger = logging.getLogger(__name__)
EVERY = 0.1  # seconds
QUIET = 0.7  # seconds without progress, at the least, that health tells of: with a look before and after, within one
AS_LONG = 20  # times as long as a batch is expected to take are too long without progress
AS_LONG_FOR_A_PART = 4  # times as long, where layers tell of progress: what lies between two is a part of a batch
GRACE = 1.0  # seconds between an engine's death and the end of the process, for the answers that tell of it
RESTARTS = 3  # of one engine, within
WITHIN = 60.0  # seconds; more of them, and the process ends

DEAD = 70  # the exit code of a process whose engine has died

Batch = list[PoolingRequest]
Key = tuple[object, ...]  # what a batch, and how far it has come, is known by again


class Supervisor:
    """Watches the engines of a server.

    Args:
        state: Where it says what it finds.
        settings: Whether engines are restarted, and how long a batch may take.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._ages: dict[Key, float] = {}  # of what makes no progress: seconds in which we looked
        self._thread_ages: dict[Key, float] = {}  # of what threads of IO processors do
        self._restarts: dict[str, list[float]] = {}
        self._buried: set[str] = set()  # what has died for good

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
                    await self.look_at(model, elapsed)
                except Exception:
                    logger.exception("looking after %s failed; the others are looked after", model.name)

    def attach(self, model: ServedModel) -> None:
        """Set the limits of a model's engine, and measure its batches."""
        model.llm.engine.most_seconds = self._settings.limits.queue_wait
        model.llm.engine.quarantine.seconds = self._settings.limits.quarantine_seconds
        model.llm.engine.engine.on_batch = self._state.metrics.of_batches(model.name)

    async def look_at(self, model: ServedModel, elapsed: float) -> None:
        """Find out how a model's engine is."""
        if died := model.llm.engine.has_died:
            await self._bury(model, died)
            return
        ages = self._without_progress(model, elapsed)
        stuck = [batch for batch, age in ages if batch and age > self._patience(model, batch)]
        if stuck:
            self._give_up(model, stuck)
        elif any(age > self._calm(model, batch) for batch, age in ages):
            self._suspect(model)
        elif hanging := self._hanging(model, elapsed):
            self._tell_of_threads(model, hanging)
        elif self._state.ailing.pop(model.name, None):
            self._state.refusing.discard(model.name)
            logger.warning("the engine of %s is well again", model.name)

    def _without_progress(self, model: ServedModel, elapsed: float) -> list[tuple[Batch, float]]:
        """The batches that run, and for how long each has made no progress.

        Where requests wait and nothing runs, and nothing ends either, the loop itself does not turn: an empty batch
        stands for it.
        """
        thread, engine = model.llm.engine, model.llm.engine.engine
        found: dict[Key, Batch] = {
            (model.name, id(batch), batch[0].advanced): batch for batch in engine.running if batch
        }
        if not found and thread.pending:
            found[model.name, engine.stats.batches, engine.stats.requests] = []
        others = {key: age for key, age in self._ages.items() if key[0] != model.name}
        own = {key: self._ages.get(key, -elapsed) + elapsed for key in found}
        self._ages = others | own
        return [(batch, own[key]) for key, batch in found.items()]

    def _hanging(self, model: ServedModel, elapsed: float) -> list[Work]:
        """The threads of IO processors that have been at one piece of work for too long."""
        found: dict[Key, Work] = {(model.name, work.thread.ident, work.began): work for work in model.llm.preparing}
        others = {key: age for key, age in self._thread_ages.items() if key[0] != model.name}
        own = {key: self._thread_ages.get(key, -elapsed) + elapsed for key in found}
        self._thread_ages = others | own
        return [work for key, work in found.items() if own[key] > self._settings.limits.hang_seconds]

    def _tell_of_threads(self, model: ServedModel, hanging: list[Work]) -> None:
        """Tell that threads of IO processors hang; the others go on."""
        what = f"{len(hanging)} thread{'s' if len(hanging) > 1 else ''} of its IO processors do not end"
        if self._state.ailing.get(model.name) != what:
            places = "; ".join(f"{work.thread.name} is in {work.place}" for work in hanging)
            logger.error("an IO processor of %s hangs: %s", model.name, places)
        self._state.ailing[model.name] = what
        if sum(work.thread.name.startswith(NAME) for work in hanging) >= THREADS:
            self._state.refusing.add(model.name)
        else:
            self._state.refusing.discard(model.name)

    def _patience(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch may make no progress before it is given up."""
        return max(self._settings.limits.hang_seconds, AS_LONG * self._expected(model, batch))

    def _calm(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch may make no progress before health tells of it."""
        engine = model.llm.engine.engine
        if not engine.throughput.rate:
            return self._settings.limits.hang_seconds  # nothing is known of how long a batch takes
        times = AS_LONG_FOR_A_PART if engine.runner.progress.marks >= MARKS else AS_LONG
        return max(QUIET, times * self._expected(model, batch))

    def _expected(self, model: ServedModel, batch: Batch) -> float:
        """How long a batch takes by the measured speed, if all workers have one."""
        engine = model.llm.engine.engine
        tokens = sum(request.num_tokens for request in batch)
        return engine.throughput.seconds_for(tokens) * engine.runner.num_workers

    def _suspect(self, model: ServedModel) -> None:
        """Tell that nothing goes on; its requests are left to wait."""
        what = "a batch makes no progress"
        if self._state.ailing.get(model.name) != what:
            logger.warning("the engine of %s may hang: %s", model.name, what)
        self._state.ailing[model.name] = what
        self._state.refusing.discard(model.name)

    def _give_up(self, model: ServedModel, stuck: list[Batch]) -> None:
        """End the requests of batches that hang; where no worker is left, those that wait behind them too."""
        engine = model.llm.engine
        what = "a batch does not end" if len(stuck) == 1 else f"{len(stuck)} batches do not end"
        if self._state.ailing.get(model.name) != what:
            logger.error("the engine of %s hangs: %s", model.name, what)
        self._state.ailing[model.name] = what
        for batch in stuck:
            engine.give_up(batch, f"the model hangs: {what}", suspected=True)
        if len(stuck) >= engine.engine.runner.num_workers or engine.engine.is_blocked:
            self._state.refusing.add(model.name)
            engine.give_up(engine.waiting(), f"the model hangs: {what}")
        else:
            self._state.refusing.discard(model.name)

    async def _bury(self, model: ServedModel, died: str) -> None:
        if model.name in self._buried:
            return  # the end is on its way
        logger.error("the engine of %s has died of %s", model.name, died)
        self._state.ailing[model.name] = "it has died"
        self._state.refusing.add(model.name)
        if self._settings.engine_restart and self._may_restart(model.name):
            await asyncio.to_thread(model.llm.restart)
            self.attach(model)
            logger.warning("the engine of %s was restarted", model.name)
            return  # the next look finds it well
        self._buried.add(model.name)
        asyncio.get_running_loop().call_later(GRACE, self._state.end, DEAD)

    def _may_restart(self, name: str) -> bool:
        now = time.monotonic()
        recent = [at for at in self._restarts.get(name, []) if now - at < WITHIN]
        self._restarts[name] = [*recent, now]
        return len(recent) < RESTARTS
