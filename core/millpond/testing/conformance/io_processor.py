"""IOProcessorConformance: tests of input validation and of one independent output per item."""

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
from millpond.pipeline.io_processor import Call, IOProcessor, Job
from millpond.pipeline.options import OptionsReader, read_item
from millpond.plugin.registry import Entry
from millpond.plugin.specs import IOProcessorSpec
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance.outputs import OutputComparison
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand, demand_same
from millpond.testing.malformed import corrupted, invalid_values
from millpond.testing.time_limit import in_threads
from millpond.types.errors import InvalidInputError, MillpondError
from millpond.types.params import PoolingParams

Processor = IOProcessor[Any]
MAX_SHOWN_CHARS = 120  # the length of a value in an error message


class IOProcessorConformance(OutputComparison, RecordConformance):
    """Tests of one IO processor, for each task of its record, with a small model.

    Attributes:
        name: The IO processor's name.
        arguments: Arguments of ``LLM`` besides the model.
        tasks: The tasks to test; by default all tasks of its record that the model supports.
        items: Valid items of different sizes, in the form in which ``encode`` receives them in ``call.prompts``; for a
            task that reads objects, also their fields.
        call: The prompts of a whole call, from which the IO processor's ``items`` method derives the items.
        chunked: Items with the number of sequences that each is split into: 0, 1, many.
        refused: Items that it must reject, in addition to general invalid values.
        params: The pooling parameters.
        threads: The number of threads that call it concurrently.
    """

    kind: ClassVar[str] = "io_processor"
    expected_target: ClassVar[str] = "it must be a subclass of millpond.IOProcessor"
    arguments: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    items: ClassVar[Sequence[object]] = ("a cup of tea", "the old mill by the river", "no", [5, 6, 7], {"prompt": "a"})
    tasks: ClassVar[tuple[str, ...]] = ()
    call: ClassVar[object] = None
    chunked: ClassVar[Sequence[tuple[object, int]]] = ()
    refused: ClassVar[Sequence[object]] = ()
    params: ClassVar[PoolingParams | None] = None
    threads: ClassVar[int] = 4

    def checkpoint(self, folder: Path) -> Path:
        """Write a small model for the IO processor and return its folder; by default a tiny BERT."""
        return tiny("BertModel", folder)

    def fits(self, target: object) -> bool:
        """Return True if the target is a concrete IOProcessor class."""
        is_processor = isinstance(target, type) and issubclass(target, IOProcessor)
        return is_processor and not inspect.isabstract(target)

    @pytest.fixture
    def trials(self, entry: Entry[IOProcessorSpec], tmp_path: Path) -> Iterator[list["Trial"]]:
        """The IO processor for each of its tasks that the model supports, with an engine."""
        arguments = {"num_workers": 1, **self.arguments}
        if PLUGIN in entry.spec.tasks:
            arguments["io_processor_plugin"] = self.name
        loaded = load_model(str(self.checkpoint(tmp_path / "model")), read_arguments(arguments), self.plugins())
        runner = Runner(loaded.model, device=loaded.context.device, num_workers=1)
        trials = [Trial(self.name, task, loaded, runner, self.params) for task in self._tested_tasks(entry, loaded)]
        for trial in trials:
            trial.items = self.items if self.call is None else list(trial.processor.items(self.call))
        yield trials
        runner.close()

    # --- input --------------------------------------------------------------------------------------------------------

    def test_malformed_items_are_accepted_or_rejected(self, trials: list["Trial"]) -> None:
        """Any value leads to valid requests or to an InvalidInputError, never to another error."""
        for trial in trials:
            malformed = (value for item in trial.items for value in corrupted(item))
            for data in (*invalid_values(), *self.refused, *malformed):
                trial.demand_no_other_error(data)

    def test_invalid_items_are_rejected(self, trials: list["Trial"]) -> None:
        """A plain object and the items in ``refused`` are rejected with a message."""
        for trial in trials:
            for data in (object(), *self.refused):
                error = trial.refusal(data)
                demand(error is not None, f"{self.name} accepts {_shown(data)}")
                demand(bool(str(error).strip()), f"{self.name} rejects {_shown(data)} without a message")

    def test_any_json_is_accepted_or_rejected(self, trials: list["Trial"]) -> None:
        """Random JSON values from hypothesis, if it is installed, lead to no other error."""
        if importlib.util.find_spec("hypothesis") is None:
            pytest.skip("hypothesis is not installed")
        for trial in trials:
            _with_random_json(trial.demand_no_other_error)

    def test_items_are_encoded_independently(self, trials: list["Trial"]) -> None:
        """Each of several items is encoded like the item alone."""
        for trial in trials:
            for job, item in zip(trial.encoded(trial.items), trial.items, strict=True):
                alone = trial.job(item)
                if job.error is not None:
                    pytest.fail(f"{self.name} accepts {_shown(item)} alone, but not among others: {job.error}")
                actual, expected = ([_fields(it) for it in encoded.sequences] for encoded in (job, alone))
                demand_same(actual, expected, 0.0, f"{self.name}, sequences")

    def test_parameters_are_completed(self, trials: list["Trial"]) -> None:
        """The same parameters are always completed alike; missing ones are completed or rejected with a message."""
        for trial in trials:
            again = trial.completed(self.params)
            same = (again.params, again.options) == (trial.call.params, trial.call.options)
            demand(same, f"{self.name} completes {self.params!r} to {trial.call!r}, then to {again!r}")
            for params in (None, PoolingParams()):
                try:
                    trial.completed(params)
                except InvalidInputError as error:
                    demand(bool(str(error).strip()), f"{self.name} rejects {params!r} without a message")

    # --- output -------------------------------------------------------------------------------------------------------

    def test_each_item_has_its_own_output(self, trials: list["Trial"]) -> None:
        """Items have the same outputs alone, in one call, and in reverse order."""
        for trial in trials:
            alone = [trial.outputs([item])[0] for item in trial.items]
            together = trial.outputs(trial.items)
            reverse = trial.outputs(trial.items[::-1])[::-1]
            for index, expected in enumerate(alone):
                what = f"{self.name}, item {index}"
                self.demand_alike(together[index], expected, self.tolerance, f"{what} among others compared with alone")
                self.demand_alike(reverse[index], expected, self.tolerance, f"{what} in reverse compared with alone")

    def test_sequences_can_be_decoded_twice(self, trials: list["Trial"]) -> None:
        """The same sequences can be decoded again: equal items of a call are computed only once."""
        for trial in trials:
            for item in trial.items:
                jobs = trial.computed([item])
                first, second = (trial.decoded(jobs)[0] for _ in range(2))
                self.demand_alike(second, first, 0.0, f"{self.name}, {_shown(item)} decoded again")

    def test_any_number_of_chunks(self, trials: list["Trial"]) -> None:
        """An item may be split into no request, one, or many."""
        if not self.chunked:
            pytest.skip(
                f"{self.name}: set chunked = [(item, number of requests), ...] to test items with several requests"
            )
        for trial in trials:
            for item, number in self.chunked:
                count = len(trial.job(item).sequences)
                demand(count == number, f"{self.name} splits {_shown(item)} into {count} sequences, not {number}")
            together = trial.outputs([item for item, _ in self.chunked])
            for (item, number), output in zip(self.chunked, together, strict=True):
                (alone,) = trial.outputs([item])
                self.demand_alike(output, alone, self.tolerance, f"{self.name}, an item of {number} sequences")

    def test_several_threads_may_call_it(self, trials: list["Trial"]) -> None:
        """Concurrent calls are independent: one object serves all calls."""
        for trial in trials:
            expected = [[_fields(it) for it in trial.job(item).sequences] for item in trial.items]
            jobs = in_threads(trial.job, list(trial.items) * 8, self.threads)
            for job, sequences in zip(jobs, expected * 8, strict=True):
                demand_same([_fields(it) for it in job.sequences], sequences, 0.0, f"{self.name}, in several threads")

    def _tested_tasks(self, entry: Entry[IOProcessorSpec], loaded: LoadedModel) -> list[str]:
        tasks, registry = loaded.context.tasks, self.registry()
        tested = [
            task
            for task in self.tasks or entry.spec.tasks
            if task in (PLUGIN, *tasks) or set(tasks) & set(registry.tasks.get(task).spec.derived_from)
        ]
        demand(bool(tested), f"{self.name} is for {entry.spec.tasks}; the model of checkpoint() has {tasks}")
        return tested


class Trial:
    """An IO processor built for a task of a model, with an engine that computes its sequences.

    Attributes:
        processor: The IO processor.
        call: A call with the completed parameters and options, without prompts.
        items: Valid items.
    """

    items: Sequence[object] = ()

    def __init__(self, name: str, task: str, loaded: LoadedModel, runner: Runner, params: PoolingParams | None) -> None:
        self.name = name
        bound = self._bound = BoundTask(task, loaded.context.io_processor(name, task=task), count(), deduplicate=True)
        self.processor: Processor = bound.processor
        self._read = OptionsReader(bound.processor)
        self.call = self.completed(params)
        self._engine = Engine(runner, loaded.engine)

    def completed(self, params: PoolingParams | None) -> Call:
        """Return the parameters, completed by the IO processor."""
        return checks.run_step(self.processor, "complete", self.processor.complete, self._read(params, {}))

    def encoded(self, items: Sequence[object]) -> list[Job]:
        """Return the jobs of the items of one call."""
        item = self._bound.item_type
        read = items if item is None else [read_item(data, item, self._bound.name) for data in items]
        return self._bound.encode(range(len(items)), [(data, self.call) for data in read])

    def job(self, item: object) -> Job:
        """Return the job of a single item.

        Raises:
            MillpondError: If the item is rejected, or the IO processor fails.
        """
        (job,) = self.encoded([item])
        if job.error is not None:
            raise job.error
        return job

    def computed(self, items: Sequence[object]) -> list[Job]:
        """Return the jobs of items with their results; the items share batches."""
        jobs = [self.job(item) for item in items]
        sequences = {id(sequence): sequence for job in jobs for sequence in job.sequences}
        for sequence in sequences.values():
            if not sequence.is_ready:
                self._engine.add(sequence)
        while self._engine.num_unfinished:
            self._engine.step()
        for error in (sequence.error for sequence in sequences.values() if sequence.error is not None):
            raise error
        return jobs

    def decoded(self, jobs: Sequence[Job]) -> Sequence[object]:
        """Return the outputs of jobs.

        Raises:
            MillpondError: If the IO processor fails.
        """
        outputs = self._bound.decode(jobs) if jobs else []
        for output in outputs:
            if isinstance(output, MillpondError):
                raise output
        return outputs

    def outputs(self, items: Sequence[object]) -> Sequence[object]:
        """Return the outputs of items; the items share batches."""
        return self.decoded(self.computed(items))

    def refusal(self, data: object) -> InvalidInputError | None:
        """Return the error for an item that is rejected; None if it is accepted."""
        try:
            self.job(data)
        except InvalidInputError as error:
            return error
        return None

    def demand_no_other_error(self, data: object) -> None:
        """Fail unless an item is accepted, or rejected with an InvalidInputError."""
        __tracebackhide__ = True
        try:
            self.refusal(data)
        except Exception as error:  # noqa: BLE001  the test looks for other errors
            pytest.fail(f"{self.name} neither accepts nor rejects {_shown(data)}: {error}")


def _with_random_json(function: Callable[[object], None]) -> None:
    """Call a function with random JSON values and bytes."""
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415  an optional dependency
    from hypothesis import strategies as st  # noqa: PLC0415

    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary()
    values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
    checks: list[Any] = list(HealthCheck)
    profile = settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=checks)
    profile(given(values)(function))()


def _fields(request: PoolingRequest) -> dict[str, object]:
    """The fields of a request that the engine reads."""
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
        return f"{value!r:.{MAX_SHOWN_CHARS}}"
    except Exception:  # noqa: BLE001  repr of any value may fail
        return f"an object of the type {type(value).__name__}"
