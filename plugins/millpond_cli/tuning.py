"""The search of ``millpond tune``: kernels first, then the budget, then the workers, each on top of what was best."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millpond.loading.profile import ProfileSettings
from millpond.nn.ops import Verdict, judge_kernels
from millpond_cli.bench import Bench
from millpond_cli.contest import LEAST, By, compare
from millpond_cli.lab import DEFAULT_BUDGET, Attempt, Lab, attempt

BUDGETS = (2048, 4096, 512, 8192, 256)  # beside the default; of those that are as good, the first is taken
ALL_COUNTED = 8  # cores, up to which every number of workers is tried
SMALLEST_SHARE = 512  # tokens a worker, where it is the workers that are tried
PROBE = 720  # tokens of the prompts that a kernel is tried on first
ALIKE, ALIKE_IN_FLOAT32 = 0.99, 0.9999  # cosine of the vectors that two kernels of one quality lead to
SHARES = {"kernels": 3.0, "max_num_batched_tokens": 5.0, "num_workers": 2.0, "all": 1.5}  # of the time


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found.

    Attributes:
        attempts: All that was tried.
        settings: What is better than the defaults.
        gain: How many times as fast as the defaults that is, all together; None where it is the defaults.
        tokens_per_second: How many tokens it serves in a second.
        seconds: How long it was measured.
    """

    attempts: tuple[Attempt, ...]
    settings: ProfileSettings
    gain: float | None
    tokens_per_second: float
    seconds: float


def tune(lab: Lab) -> Tuning:
    """Search for the settings that serve a model best."""
    lab.warm_up()
    try_kernels(lab)
    try_budgets(lab)
    try_workers(lab)
    gain = confirm(lab)
    return Tuning(
        attempts=in_order(lab.attempts),
        settings=lab.settings,
        gain=gain,
        tokens_per_second=lab.rate,
        seconds=lab.spent,
    )


def time_for(lab: Lab, phase: str) -> float:
    """The seconds that a phase may take: its share of what is left to it and to those behind it."""
    names = list(SHARES)
    behind = names[names.index(phase) :]
    return max(lab.seconds - lab.spent, 0.0) * SHARES[phase] / sum(SHARES[name] for name in behind)


# --- kernels ----------------------------------------------------------------------------------------------------------


def try_kernels(lab: Lab) -> None:
    """Try, of each op that the model asks for, the kernels that could take the place of the default one."""
    choices = list(_choices(lab))
    left, end = sum(len(names) - 1 for _, names in choices), lab.spent + time_for(lab, "kernels")
    for op, names in choices:
        share = max(end - lab.spent, 0.0) * (len(names) - 1) / left
        left -= len(names) - 1
        _try_op(lab, op, names, share)


def _choices(lab: Lab) -> Iterator[tuple[str, list[str]]]:
    """The ops that were asked for, each with the kernel that is taken and those of its quality that fit as well."""
    for op, setting in sorted(lab.bench.loaded.context.ops.items()):
        verdicts = judge_kernels(lab.registry, op, setting)
        quality = verdicts[0].entry.spec.quantization
        fitting = [it for it in verdicts if it.fits and it.entry.spec.quantization == quality]
        if len(fitting) > 1 and op not in lab.given:
            yield op, spellings(fitting)


def spellings(verdicts: Sequence[Verdict]) -> list[str]:
    """The shortest names that mean each of the kernels and no other."""
    variants = [verdict.entry.spec.variant for verdict in verdicts]
    return [
        verdict.entry.spec.variant if variants.count(verdict.entry.spec.variant) == 1 else verdict.entry.qualified
        for verdict in verdicts
    ]


def _try_op(lab: Lab, op: str, names: Sequence[str], seconds: float) -> None:
    default, before = names[0], lab.bench
    benches = {default: before} | {name: bench for name in names[1:] if (bench := _admitted(lab, op, name))}
    chosen = default
    if len(benches) > 1:
        workload = before.draw(lab.tokens(seconds, runs=LEAST * len(benches)))
        first, *others = (lab.rival(name, bench, workload) for name, bench in benches.items())
        chosen = str(lab.contest(op, first, others, by=lab.by, seconds=seconds).value)
    else:
        lab.attempts.append(Attempt(setting=op, value=default, verdict="default"))
    if chosen != default:
        lab.bench = benches[chosen]
        lab.settings = lab.with_settings(kernels={**lab.settings.kernels, op: chosen})
    for name, bench in benches.items():
        if name != chosen:
            lab.drop(bench)


def _admitted(lab: Lab, op: str, name: str) -> Bench | None:
    """The model with another kernel; None, and the reason is written down, if that is not worth measuring."""
    lab.show.phase(f"{op}={name}")
    bench = None
    try:
        bench = lab.load({**lab.settings.kernels, op: name})
        refusal = _try_out(lab, op, name, bench)
    except Exception as error:  # noqa: BLE001  whatever a plugin's kernel raises
        refusal = Attempt(setting=op, value=name, verdict="refused", reason=f"{type(error).__name__}: {error}")
    if refusal is None:
        return bench
    lab.attempts.append(refusal)
    if bench is not None:
        lab.drop(bench)
    return None


def _try_out(lab: Lab, op: str, name: str, bench: Bench) -> Attempt | None:
    """Why a kernel is not worth measuring: it computes something else, or one short run shows it to be hopeless."""
    probe = lab.bench.draw(PROBE)
    cosine = _least_cosine(lab.bench.vectors(probe), bench.vectors(probe))
    if not cosine >= (ALIKE_IN_FLOAT32 if lab.quality == ("float32", None) else ALIKE):  # NaN is not
        reason = f"it gives other vectors: their cosine with those of the default is down to {cosine:.4f}"
        return Attempt(setting=op, value=name, verdict="refused", reason=reason)
    default, rival = lab.rival("default", lab.bench, probe), lab.rival(name, bench, probe)
    for it in (default, rival):
        it.candidate.samples.append(it.candidate.run())
    said = compare(default.candidate, rival.candidate, lab.by)
    return attempt(op, rival, "hopeless", said) if said.verdict == "hopeless" else None


def _least_cosine(some: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]]) -> float:
    pairs = [(a.ravel().astype(np.float64), b.ravel().astype(np.float64)) for a, b in zip(some, others, strict=True)]
    return float(np.min([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]))


# --- budget and workers -----------------------------------------------------------------------------------------------


def try_budgets(lab: Lab) -> None:
    """Try the most tokens of a batch; each worker gets a batch of the largest at least."""

    def needed(budgets: Sequence[int]) -> float:
        return LEAST * len(budgets) * lab.enough(max(budgets)) / lab.rate

    tried = _plan(lab, "max_num_batched_tokens", [DEFAULT_BUDGET, *BUDGETS], needed)
    _try_values(lab, "max_num_batched_tokens", tried, lab.enough(max(tried)))


def try_workers(lab: Lab) -> None:
    """Try how many workers there are; they change the time, not the work."""
    if lab.cores == 1:
        return
    counts = [lab.cores, *worker_counts(lab.cores)]
    runs = LEAST * sum(lab.cores / it for it in counts)  # in units of one with all cores
    tokens = lab.tokens(time_for(lab, "num_workers"), runs=runs, least=SMALLEST_SHARE)

    def needed(counts: Sequence[int]) -> float:
        return LEAST * sum(lab.cores / it for it in counts) * tokens / lab.rate

    _try_values(lab, "num_workers", _plan(lab, "num_workers", counts, needed), tokens)


def worker_counts(cores: int) -> list[int]:
    """The numbers of workers to try beside one a core, the largest first: all of them on few cores, some on many."""
    if cores <= ALL_COUNTED:
        return list(range(cores - 1, 0, -1))
    halves = [cores >> times for times in range(1, cores.bit_length())]
    return sorted({cores * 3 // 4, *halves}, reverse=True)


def _plan(lab: Lab, setting: str, values: Sequence[int], needed: Callable[[Sequence[int]], float]) -> list[int]:
    """The values that there is time to try, the default first; of the others it is written down why they are not."""
    seconds, tried = time_for(lab, setting), [values[0]]
    for value in values[1:]:
        asked = needed([*tried, value])
        if asked <= seconds:
            tried.append(value)
            continue
        enough = math.ceil(lab.seconds * asked / seconds) if seconds else 0
        reason = f"--seconds {enough} would have time for it" if enough else "the time was over"
        lab.attempts.append(Attempt(setting=setting, value=value, verdict="not_tried", reason=reason))
    return tried


def _try_values(lab: Lab, setting: str, values: Sequence[int], num_tokens: int) -> None:
    if len(values) == 1:
        lab.attempts.append(Attempt(setting=setting, value=values[0], verdict="default"))
        return
    workload = lab.bench.draw(num_tokens)
    default, *rivals = (lab.rival(it, lab.bench, workload, lab.with_settings(**{setting: it})) for it in values)
    by: By = "wall" if setting == "num_workers" else lab.by
    chosen = lab.contest(setting, default, rivals, by=by, seconds=time_for(lab, setting))
    if chosen is not default:
        lab.settings = lab.with_settings(**{setting: chosen.value})


# --- all together -----------------------------------------------------------------------------------------------------


def confirm(lab: Lab) -> float | None:
    """Measure all that was chosen beside the defaults, and go back to them unless it is faster still; the gain."""
    defaults, chosen = ProfileSettings(kernels=dict(lab.given)), lab.settings
    if chosen == defaults:
        return None
    budget, seconds = max(chosen.max_num_batched_tokens or 0, DEFAULT_BUDGET), time_for(lab, "all")
    tokens = lab.enough(budget) if chosen.max_num_batched_tokens else lab.tokens(seconds, runs=2 * LEAST)
    workload = lab.bench.draw(tokens)
    by_default = lab.bench if chosen.kernels == defaults.kernels else lab.load(defaults.kernels)
    default = lab.rival("defaults", by_default, workload, defaults)
    best = lab.rival("what was chosen", lab.bench, workload, chosen)
    by: By = "wall" if chosen.num_workers else lab.by
    if lab.contest("all", default, [best], by=by, seconds=seconds) is best:
        return lab.attempts[-1].ratio
    lab.settings, lab.bench = defaults, by_default
    return None


def in_order(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Attempts setting by setting: of a number the smallest value first, of a kernel the default."""
    settings = list(dict.fromkeys(it.setting for it in attempts))
    return tuple(sorted(attempts, key=lambda it: (settings.index(it.setting), _place(it))))


def _place(it: Attempt) -> int:
    return it.value if isinstance(it.value, int) else it.verdict != "default"
