"""KernelConformance: a kernel is held against the reference of its op."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch

from millpond.nn.ops import OpContext, choose_kernel
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.specs import KernelSpec
from millpond.plugin.target import imported
from millpond.testing.demands import demand
from millpond.testing.kernel_cases import KernelCases
from millpond.testing.kernel_trial import FILL, KernelTrial, copies, every_other, turned, wider
from millpond.testing.time_limit import in_threads

MIXED = (1, 7, 7, 2, 1, 1, 33, 5)
EDGES = (63, 64, 65, 128, 255, 256, 257)  # around the lengths at which kernels begin another block, or hand over
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2})


class KernelConformance:
    """Tests of one kernel: its record, and that it computes what the reference of its op does.

    What cannot run here is skipped, with the reason; its record is tested all the same.

    Attributes:
        name: The kernel's name, ``"<op>.<variant>"``, or with its plugin, ``"plugin/<op>.<variant>"``.
        reference: The kernel it is held against; by default the op's ``reference``, else its ``torch``.
        cases: How arguments for the op are made; by default what the ``cases`` of a record of the op names.
        device: Where it is tried, whatever its record and ``available`` say, such as ``"cpu"`` for a kernel for GPUs in
            an interpreter; by default the first device of its record that is here.
        dtypes: What it is tried in; by default its record's dtypes, or float32 and bfloat16 if that says none.
        tolerances: For each dtype, how far it may be off, in units of the largest value expected (1 at the least).
        longest: The tokens of the longest sequence.
        seeds: How many random batches are tried.
        threads: How many threads call it at a time, on a CPU.
        time_limit: The seconds that a test, or one of its fixtures, may take; what hangs fails with the place.
    """

    name: ClassVar[str]
    reference: ClassVar[str | None] = None
    cases: ClassVar[KernelCases | None] = None
    device: ClassVar[str | None] = None
    dtypes: ClassVar[tuple[str, ...]] = ()
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES
    longest: ClassVar[int] = 700
    seeds: ClassVar[int] = 12
    threads: ClassVar[int] = 4
    time_limit: ClassVar[float] = 300.0

    def registry(self) -> Registry:
        """Where the kernel is looked up: by default what all installed plugins bring."""
        return get_plugin_manager().registry

    def load(self, entry: Entry[KernelSpec]) -> Callable[..., Any]:
        """The function to try: what the record's target names. Override it to try a way that is rarely taken."""
        kernel: Callable[..., Any] = entry.load()
        return kernel

    @pytest.fixture
    def entry(self) -> Entry[KernelSpec]:
        """The kernel's record and origin."""
        return self.registry().kernels.get(self.name)

    @pytest.fixture
    def trial(self, entry: Entry[KernelSpec], request: pytest.FixtureRequest) -> KernelTrial:
        """The kernel, ready to be tried; skips if it cannot run here."""
        refusal = self._refusal(entry)
        if refusal:
            request.applymarker(pytest.mark.skip(reason=refusal))  # by which the summary has one line for them all
            pytest.skip(refusal)
        names = self.dtypes or entry.spec.dtypes or ("float32", "bfloat16")
        cases, reference = self._cases(entry), self._reference(entry)
        parts = {op: self._part(entry, op).load() for op in cases.ops}
        plain = {op: self._reference_of(op, ()).load() for op in cases.ops}
        return KernelTrial(
            name=self.name,
            kernel=cases.with_parts(self.load(entry), parts),
            reference=cases.with_parts(reference.load(), plain),
            cases=cases,
            device=torch.device(self.device or _here(entry)[0]),
            dtypes=tuple(_dtype(name) for name in names),
            tolerances=self.tolerances,
            batch_invariant=entry.spec.batch_invariant,
            features=entry.spec.features,
        )

    # --- the record ---------------------------------------------------------------------------------------------------

    def test_record_is_right(self, entry: Entry[KernelSpec]) -> None:
        """Name, devices and dtypes are such that a kernel can be chosen by them."""
        spec = entry.spec
        demand(bool(spec.op and spec.variant), f"{spec.name!r} is not spelled '<op>.<variant>'")
        demand(bool(spec.summary), f"{spec.name} has no summary for listings")
        for name in spec.devices:
            demand(torch.device(name).index is None, f"{spec.name}: {name!r} is one device, and no type of devices")
        for name in spec.dtypes:
            demand(_dtype(name).is_floating_point, f"{spec.name}: the dtype {name!r} holds no fractions")

    def test_target_imports(self, entry: Entry[KernelSpec]) -> None:
        """The target can be imported wherever the plugin is installed, and called."""
        demand(callable(entry.load()), f"{entry.spec.name}: {entry.spec.target!r} cannot be called")

    def test_available_answers(self, entry: Entry[KernelSpec]) -> None:
        """Whether it can run here is answered by yes, no, or the reason why not."""
        answer = _ask(entry)
        right = isinstance(answer, bool) or (isinstance(answer, str) and bool(answer))
        demand(right, f"{entry.spec.available} answers {answer!r}: neither True, nor False, nor a reason")

    def test_reference_runs_everywhere(self, entry: Entry[KernelSpec]) -> None:
        """What it is held against, and what serves in its place, asks for nothing."""
        spec = self._reference(entry).spec
        free = not spec.devices and not spec.dtypes and spec.available is None
        demand(free, f"{spec.name} is no reference: it does not run on every device in every dtype")
        cases = self._cases(entry)
        missing = {need for setting in cases.settings() for need in cases.required_features(setting)}.difference(
            spec.features
        )
        demand(not missing, f"{spec.name} cannot be the reference: it does not support {', '.join(sorted(missing))}")

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_every_setting(self, trial: KernelTrial) -> None:
        """All that the op can be asked to do, on sequences of mixed lengths."""
        width = trial.cases.widths[len(trial.cases.widths) // 2]
        for setting in trial.settings:
            for dtype in trial.dtypes:
                trial.compare(MIXED, width, setting, dtype=dtype)

    def test_every_width(self, trial: KernelTrial) -> None:
        """Rows of all sizes: whole vectors, and what remains behind them."""
        for width in trial.cases.widths:
            for dtype in trial.dtypes:
                trial.compare(MIXED, width, trial.settings[0], dtype=dtype)

    def test_random_batches(self, trial: KernelTrial) -> None:
        """Lengths, widths and settings as they fall."""
        edges = [length for length in EDGES[:3] if length <= self.longest]
        for seed in range(self.seeds):
            random = Random(seed)  # noqa: S311  no secret
            lengths = [random.choice([random.randint(1, 20), *edges]) for _ in range(random.randint(1, 8))]
            width, setting = random.choice(trial.cases.widths), random.choice(trial.settings)
            trial.compare(lengths, width, setting, dtype=random.choice(trial.dtypes), seed=seed)

    def test_one_token(self, trial: KernelTrial) -> None:
        """The shortest batch there is."""
        for setting in trial.settings:
            for width in trial.cases.widths:
                trial.compare((1,), width, setting)

    def test_long_sequences(self, trial: KernelTrial) -> None:
        """Lengths around which kernels change their ways, and the longest."""
        lengths = [length for length in EDGES if length < self.longest]
        for width in trial.cases.widths[-3:]:
            trial.compare([*lengths, self.longest], width, trial.settings[0])

    def test_batch_mates_do_not_matter(self, trial: KernelTrial) -> None:
        """A sequence alone, among others, among huge ones, has one result; to the bit, if the record promises it."""
        for sample in trial.each_setting():
            trial.demand_independent(sample)
        longer = [length for length in EDGES if length <= self.longest]
        for width in trial.cases.widths if trial.batch_invariant else ():
            trial.demand_independent(trial.draw([1, *longer, 9, 9], width, trial.settings[0]))

    def test_tensors_may_have_gaps(self, trial: KernelTrial) -> None:
        """Views of larger tensors, by rows and by columns, and columns that lie behind one another."""
        for sample in trial.each_setting():
            for layout in (wider, every_other, turned):
                laid_out = {name: layout(tensor) for name, tensor in sample.tensors.items()}
                views = {name: view for name, (view, _) in laid_out.items()}
                found = trial.cases.call(trial.kernel, views, sample.lengths, sample.setting)
                what = f"{sample}, tensors laid out by {layout.__name__}()"
                trial.demand_close(found, trial.expected(sample), trial.tolerance, what)
                for name, (view, around) in laid_out.items():
                    view.fill_(FILL)  # so that what is not FILL was written outside of the view
                    demand(bool((around == FILL).all()), f"{trial.name} writes beside its argument {name}, for {what}")

    def test_arguments_stay_as_they_are(self, trial: KernelTrial) -> None:
        """But for those that the op may write its result into."""
        for sample in trial.each_setting():
            given = copies(sample.tensors)
            trial.cases.call(trial.kernel, given, sample.lengths, sample.setting)
            changed = {name for name in given if not torch.equal(given[name], sample.tensors[name])}
            wrong = sorted(changed.difference(trial.cases.overwrites))
            demand(not wrong, f"{trial.name} writes into {', '.join(wrong)}, for {sample}")

    def test_tiny_and_huge_values(self, trial: KernelTrial) -> None:
        """The result is right whatever the size of the values; ten times the tolerance is granted."""
        sizes = trial.cases.sizes if trial.dtypes[0] is torch.float32 else (1e-3, 30.0)
        for sample in trial.each_setting():
            for size in sizes:
                scaled = trial.enlarged(sample, size)
                what = f"{sample}, values of the size {size:g}"
                trial.demand_close(trial.run(scaled), trial.expected(scaled), 10 * trial.tolerance, what)

    def test_no_nan_is_made(self, trial: KernelTrial) -> None:
        """Of zeros, of values that are all alike, and of the largest, where the reference makes none."""
        most = 1e18 if trial.dtypes[0] is torch.float32 else 1e3
        for sample in trial.each_setting():
            ones = sample.replace({name: torch.ones_like(tensor) for name, tensor in sample.tensors.items()})
            for given, what in (
                (trial.enlarged(sample, 0.0), "zeros"),
                (ones, "ones"),
                (trial.enlarged(sample, most), f"values of the size {most:g}"),
            ):
                spoilt = not torch.isfinite(trial.run(given)).all() and torch.isfinite(trial.expected(given)).all()
                demand(not spoilt, f"{trial.name} makes of {what} what is not finite, for {sample}")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
    def test_what_is_not_finite_is_seen_and_stays_in_its_sequence(self, trial: KernelTrial, bad: float) -> None:
        """A kernel that makes numbers of it would hand out nonsense: results that are not finite are refused."""
        place = 2
        for sample in trial.each_setting():
            clean = trial.shares(sample)
            for name in [name for name in trial.cases.spoils if name in sample.tensors]:
                tensors = copies(sample.tensors)
                tensors[name][sample.rows(place)][0] = bad
                found = trial.shares(sample.replace(tensors))
                demand(
                    not torch.isfinite(found[place]).all(),
                    f"{trial.name} makes finite numbers of {bad} in {name}, for {sample}",
                )
                kept = all(torch.equal(found[i], clean[i]) for i in range(len(clean)) if i != place)
                demand(kept, f"{trial.name} lets other sequences see {bad} in {name}, for {sample}")

    def test_several_threads_may_call_it(self, trial: KernelTrial) -> None:
        """The engine computes a batch a worker."""
        if trial.device.type != "cpu" or self.threads <= 1:
            pytest.skip(f"{self.name} is called by one thread at a time")
        width, setting = trial.cases.widths[-1], trial.settings[0]
        samples = [trial.draw(MIXED[: 3 + seed % 5], width, setting, seed=seed) for seed in range(24)]
        expected = [trial.run(sample) for sample in samples]
        found = in_threads(trial.run, samples, self.threads)
        for one, other, sample in zip(found, expected, samples, strict=True):
            trial.demand_close(one, other, trial.tolerance, f"{sample}, beside one thread alone")

    # --- what it takes ------------------------------------------------------------------------------------------------

    def _refusal(self, entry: Entry[KernelSpec]) -> str:
        """Why the kernel cannot run here; empty if it can."""
        if self.device is not None:
            return ""
        if not _here(entry):
            return f"{self.name} runs on {', '.join(entry.spec.devices)}, and there is none here"
        parts = [self.registry().kernels.get(part) for part in entry.spec.fuses if "." in part]
        for each in (entry, *parts):
            answer = _ask(each)
            if answer is not True:
                return f"{each.spec.name} {answer or 'says that it cannot run here'}"
        return ""

    def _reference(self, entry: Entry[KernelSpec]) -> Entry[KernelSpec]:
        return self._reference_of(entry.spec.op, (self.reference,) if self.reference else ())

    def _reference_of(self, op: str, names: Sequence[str]) -> Entry[KernelSpec]:
        kernels = self.registry().kernels
        names = names or [f"{op}.{name}" for name in ("reference", "torch")]
        found = next((reference for name in names if (reference := kernels.find(name)) is not None), None)
        if found is None:
            there = ", ".join(name for name in kernels.names() if name.startswith(f"{op}."))
            pytest.fail(f"{self.name} is held against {' or '.join(names)}; there are: {there}. Say: reference = ...")
        return found

    def _part(self, entry: Entry[KernelSpec], op: str) -> Entry[KernelSpec]:
        """The kernel of another op that this one is built of: the one it fuses, else the one that would serve."""
        fused = next((part for part in entry.spec.fuses if part.rpartition("/")[2].startswith(f"{op}.")), None)
        if fused is not None:
            return self.registry().kernels.get(fused)
        device, invariant = torch.device(self.device or _here(entry)[0]), entry.spec.batch_invariant
        setting = OpContext(device=device, dtype=torch.float32, batch_invariant=invariant)
        return choose_kernel(self.registry(), op, setting).entry

    def _cases(self, entry: Entry[KernelSpec]) -> KernelCases:
        if self.cases is not None:
            return self.cases
        same_op = self.registry().kernels.grouped("op").get(entry.spec.op, ())
        target = next((each.spec.cases for each in (entry, *same_op) if each.spec.cases is not None), None)
        if target is None:
            pytest.fail(
                f"no record of the op {entry.spec.op!r} names the cases that make its arguments. Subclass "
                "millpond.testing.kernel_cases.KernelCases, and say: cases = MyCases(), or "
                'KernelSpec(cases="my_package.cases:MyCases")'
            )
        cases: KernelCases = imported(target)()
        return cases


def _ask(entry: Entry[KernelSpec]) -> Any:
    """What the record's question is answered; True if it has none."""
    if entry.spec.available is None:
        return True
    question = KernelSpec(name=entry.spec.name, target=entry.spec.available)
    return Entry(spec=question, origin=entry.origin).load()()


def _here(entry: Entry[KernelSpec]) -> list[str]:
    """Those of the devices it runs on that are there."""
    return [name for name in entry.spec.devices or ("cpu",) if name == "cpu" or getattr(torch, name).is_available()]


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        pytest.fail(f"torch knows no dtype {name!r}")
    return dtype
