"""Test benchmarks/ray_data.py from end to end with a tiny checkpoint: results and tables, not speed."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from millpond.testing.checkpoints import tiny, write_sentence_transformers

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def benchmark(needs_ray, monkeypatch):
    from ray import cloudpickle

    monkeypatch.syspath_prepend(BENCHMARKS)
    import ray_data

    cloudpickle.register_pickle_by_value(ray_data)  # nodes cannot import it
    return ray_data


def test_all_sides_embed_every_text(cluster, benchmark, tmp_path):
    folder = tiny("BertModel", tmp_path / "tiny")
    write_sentence_transformers(folder)
    table = pa.table({"id": range(20), "text": [f"the cat {number}" for number in range(20)]})
    sides = benchmark.sides_of(str(folder))
    assert len(sides) == 5
    assert {name: sides[name](table) for name in ("runner", "one actor", "one peer")} == {
        "runner": 20,
        "one actor": 20,
        "one peer": 20,
    }


def test_results_are_written(cluster, benchmark, monkeypatch, tmp_path):
    from models import Model
    from settings import Settings, write

    counts = []
    sides = {name: lambda table: counts.append(len(table)) or len(table) for name in ("runner", "one actor")}
    monkeypatch.setattr(benchmark, "sides_of", lambda _: sides)
    model = Model("tiny", "tiny", tiny("BertModel", tmp_path / "tiny"))
    settings = Settings(
        question="ray_data",
        short=True,
        contestants=[],
        rounds=2,
        texts=30,
        model=model,
        environments=tmp_path,
        output=tmp_path / "out",
    )
    write(benchmark.measure(settings), settings)
    result = json.loads((tmp_path / "out" / "ray_data.json").read_text())
    assert counts == [15] * 2 + [15, 30] * 4
    assert (result["texts"], result["few_texts"], set(result["rows"])) == (30, 15, set(sides))
    assert "| one actor / Runner |" in (tmp_path / "out" / "ray_data.md").read_text()
    counts.clear()
    benchmark.measure(replace(settings, workloads=("runner",), rounds=1))
    assert counts == [15, 15, 30]
