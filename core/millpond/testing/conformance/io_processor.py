"""IOProcessorConformance: what it cannot serve it refuses, and each item has an output of its own."""

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest
from millpond.engine.runner import Runner
from millpond.loading.arguments import read_arguments
from millpond.loading.build import LoadedModel, load_model
from millpond.pipeline import checks
from millpond.pipeline.bound_task import PLUGIN, BoundTask
from millpond.pipeline.io_processor import Asked, Call, IOProcessor, Item, Work
from millpond.pipeline.options import OptionsReader
from millpond.plugin.registry import Entry
from millpond.plugin.specs import IOProcessorSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond.testing.rubbish import rubbish, spoilt
from millpond.testing.time_limit import in_threads
from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.params import PoolingParams

Processor = IOProcessor[Any]
SHOWN = 120  # characters of a value in a complaint


class IOProcessorConformance(RecordConformance):
    """Tests of one IO processor, for each task of its record, on a model that it serves.

    Attributes:
        name: The IO processor's name.
        arguments: What ``LLM`` is to be told beside the model.
        tasks: Those of its tasks that are tried; by default all that the model serves.
        items: Data of items that it can serve, as ``encode`` finds it in ``call.items``; several, of different sizes.
        call: What a whole call passes, of which ``items`` of the IO processor makes the data; in place of ``items``.
        chunked: Items with the number of sequences that each becomes: 0, 1, many.
        refused: Items that it must refuse, beside those that nobody can serve.
        params: What is asked.
        tolerance: How far the outputs of an item alone and among others may be apart.
        threads: How many threads call it at a time.
    """

    kind: ClassVar[str] = "io_processor"
    wanted: ClassVar[str] = "it must be a subclass of millpond.IOProcessor"
    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    items: ClassVar[Sequence[object]] = ("a cup of tea", "the old mill by the river", "no", [5, 6, 7], {"prompt": "a"})
    tasks: ClassVar[tuple[str, ...]] = ()
    call: ClassVar[object] = None
    chunked: ClassVar[Sequence[tuple[object, int]]] = ()
    refused: ClassVar[Sequence[object]] = ()
    params: ClassVar[PoolingParams | None] = None
    tolerance: ClassVar[float] = 1e-5
    threads: ClassVar[int] = 4

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model that it serves, and return its folder; by default a tiny BERT."""
        return tiny("BertModel", folder)

    def comparable(self, output: Any) -> object:
        """An output as it is compared. Override it to decode bytes to arrays, which are held to ``tolerance``."""
        return output

    def fits(self, target: object) -> bool:
        """The target is an IOProcessor that can be built."""
        right = isinstance(target, type) and issubclass(target, IOProcessor)
        return right and not inspect.isabstract(target)

    @pytest.fixture
    def trials(self, entry: Entry[IOProcessorSpec], tmp_path: Path) -> Iterator[list["Trial"]]:
        """The IO processor for each of its tasks that the model serves, and what computes its requests."""
        arguments = {"num_workers": 1, **self.arguments}
        if PLUGIN in entry.spec.tasks:
            arguments["io_processor_plugin"] = self.name
        loaded = load_model(str(self.checkpoint(tmp_path / "model")), read_arguments(arguments), self.plugins())
        runner = Runner(loaded.model, device=loaded.context.device, num_workers=1)
        made = [Trial(self.name, task, loaded, runner, self.params) for task in self._served(entry, loaded)]
        for trial in made:
            trial.items = self.items if self.call is None else list(trial.processor.items(self.call))
        yield made
        runner.close()

    # --- what it is given ---------------------------------------------------------------------------------------------

    def test_rubbish_is_refused_or_served(self, trials: list["Trial"]) -> None:
        """Whatever comes: an InvalidInputError, or requests that the engine can take. Nothing else."""
        for trial in trials:
            for data in (*rubbish(), *self.refused, *(bad for item in trial.items for bad in spoilt(item))):
                trial.demand_no_other_error(data)

    def test_what_it_cannot_serve_is_refused(self, trials: list["Trial"]) -> None:
        """An object of no kind, and what the author says; the error says why."""
        for trial in trials:
            for data in (object(), *self.refused):
                error = trial.refusal(data)
                demand(error is not None, f"{self.name} takes {_shown(data)}")
                demand(bool(str(error).strip()), f"{self.name} refuses {_shown(data)} and does not say why")

    def test_any_json_is_refused_or_served(self, trials: list["Trial"]) -> None:
        """What hypothesis makes up, where it is installed."""
        if importlib.util.find_spec("hypothesis") is None:
            pytest.skip("hypothesis is not installed")
        for trial in trials:
            _try_anything(trial.demand_no_other_error)

    def test_items_at_fault_cost_no_other(self, trials: list["Trial"]) -> None:
        """Of several items at once, each is served or refused as it would be alone."""
        for trial in trials:
            for work, item in zip(trial.encoded(trial.items), trial.items, strict=True):
                alone = trial.work(item)
                if work.error is not None:
                    pytest.fail(f"{self.name} serves {_shown(item)} alone, and not among others: {work.error}")
                found, expected = ([_told(one) for one in each.sequences] for each in (work, alone))
                demand_same(found, expected, 0.0, f"{self.name}, sequences")

    def test_parameters(self, trials: list["Trial"]) -> None:
        """What is asked is always completed to the same; nothing at all is completed, or refused with a reason."""
        for trial in trials:
            again = trial.completed(self.params)
            same = (again.params, again.options) == (trial.asked.params, trial.asked.options)
            demand(same, f"{self.name} completes {self.params!r} to {trial.asked!r}, then to {again!r}")
            for given in (None, PoolingParams()):
                try:
                    trial.completed(given)
                except InvalidInputError as error:
                    demand(bool(str(error).strip()), f"{self.name} refuses {given!r} and does not say why")

    # --- what it gives ------------------------------------------------------------------------------------------------

    def test_each_item_has_its_own_output(self, trials: list["Trial"]) -> None:
        """Items in one call and alone, in one order and in the other, have the same outputs."""
        for trial in trials:
            alone = [trial.outputs([item])[0] for item in trial.items]
            together = trial.outputs(trial.items)
            back = trial.outputs(trial.items[::-1])[::-1]
            for place, expected in enumerate(alone):
                what = f"{self.name}, item {place}"
                self.demand_alike(together[place], expected, self.tolerance, f"{what} among others beside alone")
                self.demand_alike(back[place], expected, self.tolerance, f"{what} in reverse order beside alone")

    def test_an_output_can_be_made_again(self, trials: list["Trial"]) -> None:
        """Equal items of a call are computed once, and each has its output: of the same sequences."""
        for trial in trials:
            for item in trial.items:
                works = trial.computed([item])
                first, second = (trial.decoded(works)[0] for _ in range(2))
                self.demand_alike(second, first, 0.0, f"{self.name} of {_shown(item)}, made again")

    def test_any_number_of_chunks(self, trials: list["Trial"]) -> None:
        """An item may become no request, one, or many."""
        if not self.chunked:
            pytest.skip(f"{self.name}: say which item becomes how many requests: chunked = [(item, 0), ...]")
        for trial in trials:
            for item, number in self.chunked:
                made = trial.work(item).sequences
                demand(len(made) == number, f"{self.name} makes {len(made)} sequences of {_shown(item)}, not {number}")
            together = trial.outputs([item for item, _ in self.chunked])
            for (item, number), found in zip(self.chunked, together, strict=True):
                (alone,) = trial.outputs([item])
                self.demand_alike(found, alone, self.tolerance, f"{self.name}, an item of {number} sequences")

    def test_several_threads_may_call_it(self, trials: list["Trial"]) -> None:
        """One object serves all calls: it keeps nothing of one."""
        for trial in trials:
            expected = [[_told(one) for one in trial.work(item).sequences] for item in trial.items]
            found = in_threads(trial.work, list(trial.items) * 8, self.threads)
            for made, told in zip(found, expected * 8, strict=True):
                demand_same(
                    [_told(one) for one in made.sequences], told, 0.0, f"{self.name}, sequences made by threads"
                )

    def demand_alike(self, found: object, expected: object, tolerance: float, what: str) -> None:
        """Demand that two outputs are the same, as they are compared."""
        demand_same(self.comparable(found), self.comparable(expected), tolerance, what)

    def _served(self, entry: Entry[IOProcessorSpec], loaded: LoadedModel) -> list[str]:
        tasks, registry = loaded.context.tasks, self.registry()
        served = [
            task
            for task in self.tasks or entry.spec.tasks
            if task in (PLUGIN, *tasks) or set(tasks) & set(registry.tasks.get(task).spec.derived_from)
        ]
        demand(bool(served), f"{self.name} serves {entry.spec.tasks}, the model of checkpoint() {tasks}")
        return served


class Trial:
    """An IO processor built for a task of a model, and what computes its sequences.

    Attributes:
        processor: The IO processor, by the adapter where it implements the contract before 0.2.
        asked: What is asked, completed.
        items: Items that it can serve.
    """

    items: Sequence[object] = ()

    def __init__(self, name: str, task: str, loaded: LoadedModel, runner: Runner, params: PoolingParams | None) -> None:
        self.name = name
        bound = BoundTask(task, loaded.context.io_processor(name, task=task), count(), deduplicate=True)
        self.processor: Processor = bound.adapted
        self._limits = bound.limits
        self._read = OptionsReader(bound.processor)
        self.asked = self.completed(params)
        self._engine = Engine(runner, loaded.engine)

    def completed(self, params: PoolingParams | None) -> Asked:
        """What is asked, as the IO processor completes it."""
        return checks.complete(self.processor, self._read(params, {}))

    def encoded(self, items: Sequence[object]) -> list[Work]:
        """The works of the items of one call."""
        return checks.encode(self.processor, Call([Item(item, self.asked) for item in items]), self._limits)

    def work(self, item: object) -> Work:
        """The work of an item alone.

        Raises:
            MillpondError: If it is refused, or the IO processor fails on it.
        """
        (work,) = self.encoded([item])
        if work.error is not None:
            raise work.error
        return work

    def computed(self, items: Sequence[object]) -> list[Work]:
        """The works of items, which share batches, with their results."""
        works = [self.work(item) for item in items]
        sequences = {id(sequence): sequence for work in works for sequence in work.sequences}
        for sequence in sequences.values():
            if not sequence.is_ready:
                self._engine.add(sequence)
        while self._engine.has_work:
            self._engine.step()
        for error in (sequence.error for sequence in sequences.values() if sequence.error is not None):
            raise error
        return works

    def decoded(self, works: Sequence[Work]) -> list[object]:
        """The outputs of works.

        Raises:
            MillpondError: If the IO processor fails on one.
        """
        outputs = checks.decode(self.processor, works) if works else []
        for output in outputs:
            if isinstance(output, MillpondError):
                raise output
        return outputs

    def outputs(self, items: Sequence[object]) -> list[object]:
        """The outputs of items, which share batches."""
        return self.decoded(self.computed(items))

    def refusal(self, data: object) -> InvalidInputError | None:
        """How it refuses an item; None if it takes it."""
        try:
            self.work(data)
        except InvalidInputError as error:
            return error
        return None

    def demand_no_other_error(self, data: object) -> None:
        """Demand that an item is served, or refused by an InvalidInputError."""
        __tracebackhide__ = True
        try:
            self.refusal(data)
        except Exception as error:  # noqa: BLE001  any other is what is looked for
            pytest.fail(f"{self.name} neither serves nor refuses {_shown(data)}: {error}")


def _try_anything(trial: Callable[[object], None]) -> None:
    """Call with what JSON can hold, and bytes."""
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415  authors may not have it
    from hypothesis import strategies as st  # noqa: PLC0415

    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary()
    values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
    every: list[Any] = list(HealthCheck)
    quiet = settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=every)
    quiet(given(values)(trial))()


def _told(request: PoolingRequest) -> dict[str, object]:
    """What of a request the engine is told."""
    return {
        "input_ids": request.input_ids,
        "token_type_ids": request.token_type_ids,
        "representations": request.representations,
        "features": request.features,
        "group": request.group,
        "num_dropped_tokens": request.num_dropped_tokens,
    }


def _shown(value: object) -> str:
    try:
        return f"{value!r:.{SHOWN}}"
    except Exception:  # noqa: BLE001  a value that cannot even be shown is shown by its kind
        return f"something of {type(value).__name__}"
