"""Measure what a bulk job costs beside the model, and whether its memory grows with the number of rows.

python benchmarks/jobs.py [--short] [--rounds N] [--texts N] [--model FOLDER] [--output FOLDER]

The overhead is the time of a job over a parquet file, with planning, reading and writing, compared with `LLM.embed` on
the same texts: in one process and in turns, and both load the model. The memory is the peak (VmHWM) of new processes
whose jobs have 20,000 and 2,000,000 rows; their model is tiny, since its size does not change how jobs read and write.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from environments import console
from figures import Spread, quotients
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

SIDES = ("embed", "job")
FEW_ROWS, MANY_ROWS, MANY_ROWS_BRIEFLY = 20_000, 2_000_000, 100_000
ROW_GROUP = 200_000  # larger than a shard: it must not be read at once
PEAK = """
import sys
from pathlib import Path
from millpond_jobs import Recipe, run
model, source, folder = sys.argv[1:]
result = run(source, folder, Recipe(model=model, id_column="id"))
assert result.finished and not result.failed
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def measure(settings: Settings) -> Result:
    """Measure the overhead, then the memory."""
    with tempfile.TemporaryDirectory(prefix="millpond-jobs-") as folder:
        result = new_result(settings) | _overhead(settings, Path(folder))
        many = MANY_ROWS_BRIEFLY if settings.short else MANY_ROWS
        return {**result, "memory": _memory(Path(folder), (FEW_ROWS, many))}


def _overhead(settings: Settings, folder: Path) -> Result:
    """Embed the same texts with `LLM.embed` and with a job, in turns, after a round of warm-up."""
    workload = prose(settings.model.tokenizer, settings.count(4000, 300))
    source = folder / "texts.parquet"
    pq.write_table(pa.table({"id": range(len(workload.texts)), "text": workload.texts}), source)
    sides = _sides(str(settings.model.folder), list(workload.texts), source, folder)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for number in range(settings.rounds + 1):
        for name, side in sides.items():
            console.print(f"{name}: round {number} of {settings.rounds}")
            figures = _timed(side)
            if number:
                runs[name].append(figures)
    return {
        "workload": workload.name,
        "texts": len(workload.texts),
        "fingerprint": workload.fingerprint,
        "rows": {
            name: {f"{kind}_seconds": Spread.of([run[kind] for run in rounds]).as_dict() for kind in ("cpu", "wall")}
            for name, rounds in runs.items()
        },
        "job_over_embed": {
            kind: quotients(*([run[kind] for run in runs[name]] for name in reversed(SIDES))).as_dict()
            for kind in ("cpu", "wall")
        },
    }


def _sides(model: str, texts: list[str], source: Path, folder: Path) -> dict[str, Callable[[], object]]:
    from millpond import LLM  # noqa: PLC0415  takes seconds; --help does not need it
    from millpond_jobs import Recipe, run  # noqa: PLC0415  as above

    recipe = Recipe(model=model, id_column="id")
    jobs = iter(range(1_000_000))

    def embed() -> None:
        with LLM(model, batch_invariant=True) as llm:  # as in jobs
            llm.embed(texts, use_tqdm=False)

    def job() -> None:
        run(source, folder / f"job-{next(jobs)}", recipe)

    return dict(zip(SIDES, (embed, job), strict=True))


def _timed(side: Callable[[], object]) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    side()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _memory(folder: Path, counts: tuple[int, ...]) -> list[Result]:
    """Return the peak memory and the duration of a job with each number of rows, in new processes."""
    from millpond.testing.checkpoints import tiny  # noqa: PLC0415  takes seconds; --help does not need it

    model = tiny("BertModel", folder / "tiny")
    measured: list[Result] = []
    for count in counts:
        console.print(f"memory: {count:,} rows")
        source = folder / f"{count}.parquet"
        _write_rows(source, count)
        cpu, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", PEAK, str(model), str(source), str(folder / f"out-{count}")]
        peak_kib = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(
            {
                "rows": count,
                "peak_mib": peak_kib / 1024,
                "cpu_seconds": after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime,
                "wall_seconds": time.perf_counter() - wall,
            }
        )
    return measured


def _write_rows(path: Path, count: int) -> None:
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, ROW_GROUP):
            numbers = range(start, min(start + ROW_GROUP, count))
            texts = [f"the cat {number}" for number in numbers]
            writer.write_table(pa.table([numbers, texts], schema=schema), row_group_size=ROW_GROUP)


if __name__ == "__main__":
    settings = read_settings("jobs", __doc__)
    write(measure(settings), settings)
