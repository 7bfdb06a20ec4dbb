"""Supervisor: looks after the engines: of one that has died, or hangs, all are told, and nobody waits for it."""

import asyncio
import logging
import time

from millpond.engine.request import PoolingRequest
from millpond_server.models import ServedModel
from millpond_server.settings import Settings
from millpond_server.state import State

logger = logging.getLogger(__name__)
EVERY = 0.2  # seconds
AS_LONG = 20  # times as long as expected is too long for a batch
GRACE = 1.0  # seconds between an engine's death and the end of the process, for the answers that tell of it
RESTARTS = 3  # of one engine, within
WITHIN = 60.0  # seconds; more of them, and the process ends

DEAD = 70  # the exit code of a process whose engine has died

Batch = list[PoolingRequest]


class Supervisor:
    """Watches the engines of a server.

    Args:
        state: Where it says what it finds.
        settings: Whether engines are restarted, and how long a batch may take.
    """

    def __init__(self, state: State, settings: Settings) -> None:
        self._state = state
        self._settings = settings
        self._ages: dict[tuple[str, int, float], float] = {}  # of running batches: seconds in which we looked
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
        stuck = self._stuck(model, elapsed)
        if not stuck:
            if self._state.ailing.pop(model.name, None):
                self._state.refusing.discard(model.name)
                logger.warning("the engine of %s is well again", model.name)
            return
        self._give_up(model, stuck)

    def _stuck(self, model: ServedModel, elapsed: float) -> list[Batch]:
        """The batches that have run for too long."""
        engine = model.llm.engine.engine
        running = {(model.name, id(batch), batch[0].started): batch for batch in engine.running if batch}
        others = {key: age for key, age in self._ages.items() if key[0] != model.name}
        own = {key: self._ages.get(key, -elapsed) + elapsed for key in running}
        self._ages = others | own
        return [batch for key, batch in running.items() if own[key] > self._patience(model, batch)]

    def _patience(self, model: ServedModel, batch: Batch) -> float:
        engine = model.llm.engine.engine
        expected = engine.throughput.seconds_for(sum(request.num_tokens for request in batch))
        return max(self._settings.limits.hang_seconds, AS_LONG * expected * engine.runner.num_workers)

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
