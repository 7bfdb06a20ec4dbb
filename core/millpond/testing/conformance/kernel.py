"""KernelConformance: tests of a kernel's record, and comparison with the reference of its op."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch

from millpond.plugin.kernels import OpContext, choose_kernel
from millpond.plugin.registry import Entry
from millpond.plugin.specs import KernelSpec
from millpond.plugin.target import imported
from millpond.testing.conformance.record import RecordConformance
from millpond.testing.demands import demand
from millpond.testing.kernel_cases import KernelCases
from millpond.testing.kernel_trial import FILL, KernelTrial, column_major, copies, every_other, wider
from millpond.testing.time_limit import in_threads

MIXED_LENGTHS = (1, 7, 7, 2, 1, 1, 33, 5)
EDGE_LENGTHS = (63, 64, 65, 128, 255, 256, 257)  # around typical block sizes of kernels
TOLERANCES: Mapping[str, float] = MappingProxyType({"float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2})


class KernelConformance(RecordConformance):
    """Tests of one kernel: its record, and its results compared with those of the reference of its op.

    Results of a kernel that cannot run on this machine are not tested, with the reason; its record is.

    Attributes:
        name: The kernel's name, ``"<op>.<variant>"``, or its qualified name, ``"plugin/<op>.<variant>"``.
        reference: The kernel to compare with; by default the op's ``reference``, else its ``torch``.
        cases: The test arguments of the op; by default the ``cases`` in a record of the op.
        device: The device to test on, which overrides the record and ``available``, such as ``"cpu"`` for a GPU kernel
            in an interpreter; by default the first available device of its record.
        dtypes: The dtypes to test; by default those of its record, or float32 and bfloat16 if it declares none.
        tolerances: The allowed error for each dtype, relative to the largest expected value (at least 1).
        longest: The number of tokens of the longest sequence.
        seeds: The number of random batches.
        threads: The number of threads that call it concurrently, on a CPU.
    """

    kind: ClassVar[str] = "kernel"
    reference: ClassVar[str | None] = None
    cases: ClassVar[KernelCases | None] = None
    device: ClassVar[str | None] = None
    dtypes: ClassVar[tuple[str, ...]] = ()
    tolerances: ClassVar[Mapping[str, float]] = TOLERANCES
    longest: ClassVar[int] = 700
    seeds: ClassVar[int] = 12
    threads: ClassVar[int] = 4

    def load(self, entry: Entry[KernelSpec]) -> Callable[..., Any]:
        """Return the function to test, by default the record's target; override it to test a rarely used code path."""
        kernel: Callable[..., Any] = entry.load()
        return kernel

    @pytest.fixture
    def trial(self, entry: Entry[KernelSpec], request: pytest.FixtureRequest) -> KernelTrial:
        """The kernel with its reference and arguments; the test is skipped if the kernel cannot run here."""
        refusal = self._refusal(entry)
        if refusal:
            request.applymarker(pytest.mark.skip(reason=refusal))  # groups the skipped tests in pytest's summary
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
            device=torch.device(self.device or _available_devices(entry)[0]),
            dtypes=tuple(_dtype(name) for name in names),
            tolerances=self.tolerances,
            batch_invariant=entry.spec.batch_invariant,
            features=entry.spec.features,
        )

    # --- the record ---------------------------------------------------------------------------------------------------

    def test_available_answers(self, entry: Entry[KernelSpec]) -> None:
        """The function ``available`` returns True, False, or the reason why the kernel cannot run."""
        answer = _availability(entry)
        valid = isinstance(answer, bool) or (isinstance(answer, str) and bool(answer))
        demand(valid, f"{entry.spec.available} returned {answer!r}; expected True, False or a reason")

    def test_reference_runs_everywhere(self, entry: Entry[KernelSpec]) -> None:
        """The reference has no requirements, since it also replaces kernels that cannot run."""
        spec = self._reference(entry).spec
        runs_everywhere = not spec.devices and not spec.dtypes and spec.available is None
        demand(runs_everywhere, f"{spec.name} cannot be the reference: it does not run on every device in every dtype")
        cases = self._cases(entry)
        required = {feature for setting in cases.settings() for feature in cases.required_features(setting)}
        missing = required.difference(spec.features)
        demand(not missing, f"{spec.name} cannot be the reference: it does not support {', '.join(sorted(missing))}")

    # --- the result ---------------------------------------------------------------------------------------------------

    def test_every_setting(self, trial: KernelTrial) -> None:
        """All variants of the op, with sequences of mixed lengths."""
        width = trial.cases.widths[len(trial.cases.widths) // 2]
        for setting in trial.settings:
            for dtype in trial.dtypes:
                trial.compare(MIXED_LENGTHS, width, setting, dtype=dtype)

    def test_every_width(self, trial: KernelTrial) -> None:
        """All row sizes, including those that are not multiples of a SIMD vector."""
        for width in trial.cases.widths:
            for dtype in trial.dtypes:
                trial.compare(MIXED_LENGTHS, width, trial.settings[0], dtype=dtype)

    def test_random_batches(self, trial: KernelTrial) -> None:
        """Random lengths, widths and settings."""
        edges = [length for length in EDGE_LENGTHS[:3] if length <= self.longest]
        for seed in range(self.seeds):
            random = Random(seed)  # noqa: S311  not used for secrets
            lengths = [random.choice([random.randint(1, 20), *edges]) for _ in range(random.randint(1, 8))]
            width, setting = random.choice(trial.cases.widths), random.choice(trial.settings)
            trial.compare(lengths, width, setting, dtype=random.choice(trial.dtypes), seed=seed)

    def test_one_token(self, trial: KernelTrial) -> None:
        """A batch of a single token."""
        for setting in trial.settings:
            for width in trial.cases.widths:
                trial.compare((1,), width, setting)

    def test_long_sequences(self, trial: KernelTrial) -> None:
        """Lengths around typical block sizes, and the longest sequence."""
        lengths = [length for length in EDGE_LENGTHS if length < self.longest]
        for width in trial.cases.widths[-3:]:
            trial.compare([*lengths, self.longest], width, trial.settings[0])

    def test_sequences_are_independent(self, trial: KernelTrial) -> None:
        """A sequence has the same result alone, among others, and among huge values; bit for bit if declared."""
        for sample in trial.each_setting():
            trial.demand_independent(sample)
        longer = [length for length in EDGE_LENGTHS if length <= self.longest]
        for width in trial.cases.widths if trial.batch_invariant else ():
            trial.demand_independent(trial.draw([1, *longer, 9, 9], width, trial.settings[0]))

    def test_tensors_may_have_gaps(self, trial: KernelTrial) -> None:
        """Arguments may be views with gaps between rows or columns, or in column-major order."""
        for sample in trial.each_setting():
            for layout in (wider, every_other, column_major):
                laid_out = {name: layout(tensor) for name, tensor in sample.tensors.items()}
                views = {name: view for name, (view, _) in laid_out.items()}
                actual = trial.cases.call(trial.kernel, views, sample.lengths, sample.setting)
                what = f"{sample}, tensors with the layout {layout.__name__}"
                trial.demand_close(actual, trial.expected(sample), trial.tolerance, what)
                for name, (view, around) in laid_out.items():
                    view.fill_(FILL)  # any other value was written outside of the view
                    demand(bool((around == FILL).all()), f"{trial.name} writes outside of its argument {name}: {what}")

    def test_arguments_are_not_changed(self, trial: KernelTrial) -> None:
        """Only arguments that the op may overwrite with its result are changed."""
        for sample in trial.each_setting():
            tensors = copies(sample.tensors)
            trial.cases.call(trial.kernel, tensors, sample.lengths, sample.setting)
            changed = {name for name in tensors if not torch.equal(tensors[name], sample.tensors[name])}
            forbidden = sorted(changed.difference(trial.cases.overwrites))
            demand(not forbidden, f"{trial.name} writes into {', '.join(forbidden)}, for {sample}")

    def test_tiny_and_huge_values(self, trial: KernelTrial) -> None:
        """Results of tiny and huge values are right, within ten times the tolerance."""
        sizes = trial.cases.sizes if trial.dtypes[0] is torch.float32 else (1e-3, 30.0)
        for sample in trial.each_setting():
            for size in sizes:
                scaled = trial.enlarged(sample, size)
                what = f"{sample}, values around {size:g}"
                trial.demand_close(trial.run(scaled), trial.expected(scaled), 10 * trial.tolerance, what)

    def test_results_of_finite_values_are_finite(self, trial: KernelTrial) -> None:
        """Results of zeros, ones and the largest values are finite if those of the reference are."""
        largest = 1e18 if trial.dtypes[0] is torch.float32 else 1e3
        for sample in trial.each_setting():
            ones = sample.replace({name: torch.ones_like(tensor) for name, tensor in sample.tensors.items()})
            for extreme, values in (
                (trial.enlarged(sample, 0.0), "zeros"),
                (ones, "ones"),
                (trial.enlarged(sample, largest), f"values around {largest:g}"),
            ):
                overflows = not torch.isfinite(trial.run(extreme)).all()
                is_fault = overflows and bool(torch.isfinite(trial.expected(extreme)).all())
                demand(not is_fault, f"{trial.name} returns NaN or infinity for {values}, for {sample}")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
    def test_nonfinite_values_are_kept_in_their_sequence(self, trial: KernelTrial, bad: float) -> None:
        """NaN and infinity appear in the result of their own sequence and in no other, so that it can be rejected."""
        index = 2
        for sample in trial.each_setting():
            clean = trial.parts(sample)
            for name in [name for name in trial.cases.spoils if name in sample.tensors]:
                tensors = copies(sample.tensors)
                tensors[name][sample.rows(index)][0] = bad
                parts = trial.parts(sample.replace(tensors))
                demand(
                    not torch.isfinite(parts[index]).all(),
                    f"{trial.name} returns finite numbers for {bad} in {name}, for {sample}",
                )
                unchanged = all(torch.equal(parts[i], clean[i]) for i in range(len(clean)) if i != index)
                demand(unchanged, f"{trial.name}: {bad} in {name} changes other sequences, for {sample}")

    def test_several_threads_may_call_it(self, trial: KernelTrial) -> None:
        """Concurrent calls return the same results: each worker of the engine computes a batch."""
        if trial.device.type != "cpu" or self.threads <= 1:
            pytest.skip(f"{self.name} is only called by one thread at a time")
        width, setting = trial.cases.widths[-1], trial.settings[0]
        samples = [trial.draw(MIXED_LENGTHS[: 3 + seed % 5], width, setting, seed=seed) for seed in range(24)]
        expected = [trial.run(sample) for sample in samples]
        outputs = in_threads(trial.run, samples, self.threads)
        for output, reference, sample in zip(outputs, expected, samples, strict=True):
            trial.demand_close(output, reference, trial.tolerance, f"{sample}, in several threads")

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _refusal(self, entry: Entry[KernelSpec]) -> str:
        """The reason why the kernel cannot run here; empty if it can."""
        if self.device is not None:
            return ""
        if not _available_devices(entry):
            return f"{self.name} runs on {', '.join(entry.spec.devices)}, which this machine does not have"
        parts = [self.registry().kernels.get(part) for part in entry.spec.fuses if "." in part]
        for kernel in (entry, *parts):
            answer = _availability(kernel)
            if answer is not True:
                return f"{kernel.spec.name} {answer or 'cannot run here'}"
        return ""

    def _reference(self, entry: Entry[KernelSpec]) -> Entry[KernelSpec]:
        return self._reference_of(entry.spec.op, (self.reference,) if self.reference else ())

    def _reference_of(self, op: str, names: Sequence[str]) -> Entry[KernelSpec]:
        kernels = self.registry().kernels
        names = names or [f"{op}.{name}" for name in ("reference", "torch")]
        reference = next((entry for name in names if (entry := kernels.find(name)) is not None), None)
        if reference is None:
            available = ", ".join(name for name in kernels.names() if name.startswith(f"{op}."))
            pytest.fail(f"{self.name}: unknown reference {' or '.join(names)}. Available: {available}. Set reference")
        return reference

    def _part(self, entry: Entry[KernelSpec], op: str) -> Entry[KernelSpec]:
        """The kernel of another op that this kernel uses: the one that it fuses, else the best one."""
        fused = next((part for part in entry.spec.fuses if part.rpartition("/")[2].startswith(f"{op}.")), None)
        if fused is not None:
            return self.registry().kernels.get(fused)
        device, invariant = torch.device(self.device or _available_devices(entry)[0]), entry.spec.batch_invariant
        context = OpContext(device=device, dtype=torch.float32, batch_invariant=invariant)
        return choose_kernel(self.registry(), op, context).entry

    def _cases(self, entry: Entry[KernelSpec]) -> KernelCases:
        if self.cases is not None:
            return self.cases
        same_op = self.registry().kernels.grouped("op").get(entry.spec.op, ())
        target = next((it.spec.cases for it in (entry, *same_op) if it.spec.cases is not None), None)
        if target is None:
            pytest.fail(
                f"no record of the op {entry.spec.op!r} declares its test arguments. Subclass "
                "millpond.testing.kernel_cases.KernelCases and set cases = MyCases() here, or "
                'KernelSpec(cases="my_package.cases:MyCases") in the record'
            )
        cases: KernelCases = imported(target)()
        return cases


def _availability(entry: Entry[KernelSpec]) -> Any:
    """The result of the record's ``available`` function; True without one."""
    if entry.spec.available is None:
        return True
    function = KernelSpec(name=entry.spec.name, target=entry.spec.available)
    return Entry(spec=function, origin=entry.origin).load()()


def _available_devices(entry: Entry[KernelSpec]) -> list[str]:
    """The devices of the kernel that this machine has."""
    return [name for name in entry.spec.devices or ("cpu",) if name == "cpu" or getattr(torch, name).is_available()]


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        pytest.fail(f"torch has no dtype {name!r}")
    return dtype
