"""Compare actors of Ray Data with a `Runner` in one process, and with SentenceTransformer in actors.

python benchmarks/ray_data.py [--short] [--rounds N] [--texts N] [--workloads SIDES] [--model FOLDER] [--output FOLDER]

Run it with Ray: in the environment that `make test-ray` creates, .venv-ray. All sides embed the same texts in batches
of the same number of rows, with one thread per process. Each side runs twice in a round, with few texts and with all:
the speed is that of the additional texts, so that it does not contain the start of actors and the loading of the model.
The class with SentenceTransformer is written as in the documentation of Ray Data.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from environments import console
from figures import Spread, quotients
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

if TYPE_CHECKING:
    import numpy as np

    from millpond_jobs import Recipe

BATCH_ROWS = 128
FEW_BATCHES = 2  # one for each of two actors
LOGICAL_CPUS = 3  # two actors, and one for the tasks that read
RATIOS = {
    "one actor / Runner": ("one actor", "runner"),
    "two actors / one actor": ("two actors", "one actor"),
    "one actor / SentenceTransformer": ("one actor", "one peer"),
    "two actors / SentenceTransformer": ("two actors", "two peers"),
}


@dataclass(frozen=True)
class Seconds:
    """The duration of a side with few texts and with all."""

    few: float
    all: float


class TextEmbedder:
    """SentenceTransformer in an actor, as in the documentation of Ray Data."""

    def __init__(self, model: str) -> None:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  loaded in the actor

        self.model = SentenceTransformer(model, device="cpu")

    def __call__(self, batch: "dict[str, np.ndarray[Any, Any]]") -> "dict[str, np.ndarray[Any, Any]]":
        """Return a batch with the vectors."""
        batch["vector"] = self.model.encode(batch["text"].tolist())
        return batch


def measure(settings: Settings) -> Result:
    """Measure all sides in turns, on a cluster in this machine."""
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"  # read when Ray is imported
    import ray  # noqa: PLC0415  --help does not need it

    workload = prose(settings.model.tokenizer, settings.count(4096, 512))
    table = pa.table({"id": range(len(workload.texts)), "text": list(workload.texts)})
    few = table.slice(0, min(FEW_BATCHES * BATCH_ROWS, len(table) // 2))
    if not ray.is_initialized():
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
        ray.init(address="local", num_cpus=LOGICAL_CPUS, **options)
    sides = {name: side for name, side in sides_of(str(settings.model.folder)).items() if settings.wants(name)}
    runs: dict[str, list[Seconds]] = {name: [] for name in sides}
    for name, side in sides.items():
        console.print(f"{name}: warm-up")
        side(few)
    for number in range(settings.rounds):
        for name, side in sides.items():
            console.print(f"{name}: round {number + 1} of {settings.rounds}")
            runs[name].append(Seconds(_timed(side, few), _timed(side, table)))
            if runs[name][-1].all <= runs[name][-1].few:
                console.print("The additional texts took no time: pass more with --texts, and stop other programs.")
    return {
        **new_result(settings),
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "texts": len(table),
        "batch_rows": BATCH_ROWS,
        **figures_of(runs, few=len(few), total=len(table)),
    }


def figures_of(runs: dict[str, list[Seconds]], *, few: int, total: int) -> Result:
    """Return the rows per second of each side, the seconds of its run with few texts, and the ratios of sides."""
    rates = {name: [(total - few) / (it.all - it.few) for it in seconds] for name, seconds in runs.items()}
    return {
        "few_texts": few,
        "rows": {
            name: {
                "rows_per_second": Spread.of(rates[name]).as_dict(),
                "few_seconds": Spread.of([it.few for it in seconds]).as_dict(),
            }
            for name, seconds in runs.items()
        },
        "ratios": {
            name: quotients(rates[side], rates[base]).as_dict()
            for name, (side, base) in RATIOS.items()
            if side in rates and base in rates
        },
    }


def sides_of(model: str) -> dict[str, Callable[[pa.Table], int]]:
    """Return a function for each side that embeds a table and returns the number of vectors."""
    from millpond_jobs import Recipe  # noqa: PLC0415  takes seconds; --help does not need it

    recipe = Recipe(model=model, on_overflow="truncate", args={"num_workers": 1})
    return {
        "runner": partial(_in_this_process, recipe),
        "one actor": partial(_in_actors, recipe, 1),
        "two actors": partial(_in_actors, recipe, 2),
        "one peer": partial(_in_peers, model, 1),
        "two peers": partial(_in_peers, model, 2),
    }


def _in_this_process(recipe: "Recipe", table: pa.Table) -> int:
    with recipe.open() as runner:
        return sum(len(runner(pa.Table.from_batches([batch]))) for batch in table.to_batches(BATCH_ROWS))


def _in_actors(recipe: "Recipe", count: int, table: pa.Table) -> int:
    import millpond_ray  # noqa: PLC0415  as above

    return _consumed(millpond_ray.map(_dataset(table), recipe, concurrency=count, batch_size=BATCH_ROWS))


def _in_peers(model: str, count: int, table: pa.Table) -> int:
    options = {"concurrency": count, "batch_size": BATCH_ROWS, "num_cpus": 1}
    return _consumed(_dataset(table).map_batches(TextEmbedder, fn_constructor_kwargs={"model": model}, **options))


def _dataset(table: pa.Table) -> Any:
    """Return a dataset with a block for each batch, so that several actors share them."""
    import ray.data  # noqa: PLC0415  as above

    return ray.data.from_arrow([table.slice(start, BATCH_ROWS) for start in range(0, len(table), BATCH_ROWS)])


def _consumed(dataset: Any) -> int:
    """Return the number of vectors in a dataset."""
    batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    return sum(len(batch) - batch["vector"].null_count for batch in batches)


def _timed(side: Callable[[pa.Table], int], table: pa.Table) -> float:
    start = time.perf_counter()
    count = side(table)
    seconds = time.perf_counter() - start
    if count != len(table):
        raise RuntimeError(f"{count} of {len(table)} rows have a vector")
    return seconds


if __name__ == "__main__":
    settings = read_settings("ray_data", __doc__, rounds=3, short_rounds=1)
    write(measure(settings), settings)
