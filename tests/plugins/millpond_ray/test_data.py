"""Test Ray Data: every row once in Arrow columns, also after the death of an actor or of the program."""

import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest

import millpond_ray
from millpond_jobs import Recipe
from millpond_recipes import model_facts
from millpond_recipes.errors import RecipeError

pytestmark = pytest.mark.slow
ROWS = 20_000
TIMEOUT_S = 120.0


def texts(ids):
    """Return a text for each id; each 1,000th is longer than the model accepts."""
    return [f"the cat {row} " * (400 if row % 1000 == 7 else 1 + row % 5) for row in ids]


def add_texts(batch):
    return {"id": batch["id"], "text": np.array(texts(batch["id"].tolist()), dtype=object)}


def dataset(rows=ROWS, blocks=8):
    import ray.data
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes cannot import this module
    return ray.data.range(rows, override_num_blocks=blocks).map_batches(add_texts)


def actors_of_all_times():
    """Return the actors that compute recipes, also those that have ended."""
    from ray._private import state  # the public API needs the dashboard

    return [it for it in state.actors().values() if "RecipeActor" in it["ActorClassName"]]


def living_actors():
    return [it for it in actors_of_all_times() if it["State"] == "ALIVE"]


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="error")


def test_two_nodes_compute_every_row_once(cluster, recipe):
    import pyarrow as pa

    tables, places = [], []
    results = millpond_ray.map(dataset(), recipe, concurrency=2, num_gpus=1)
    for table in results.iter_batches(batch_format="pyarrow", batch_size=None):
        tables.append(table)
        places = places or [it["Address"]["NodeID"] for it in living_actors()]
    table = pa.concat_tables(tables).sort_by("id").combine_chunks()
    assert table["id"].to_pylist() == list(range(ROWS))
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 32)
    assert len(places) == len(set(places)) == 2, "each node has one GPU, so each has one actor"
    failed = [row["id"] for row in table.select(["id", "error"]).to_pylist() if row["error"]]
    assert failed == list(range(7, ROWS, 1000))
    assert table["vector"].null_count == len(failed)
    with recipe.open() as runner:
        expected = runner(table.slice(0, 50).select(["id", "text"]))
    assert table.slice(0, 50).equals(expected)


def test_rows_of_a_killed_actor_are_computed_once(cluster, recipe):
    counts, killed = Counter(), None
    results = millpond_ray.map(dataset(8000, blocks=16), recipe, concurrency=2, batch_size=100)
    for batch in results.iter_batches(batch_size=None):
        counts.update(batch["id"].tolist())
        if killed is None:
            killed = living_actors()[0]["Pid"]
            os.kill(killed, signal.SIGKILL)
    assert any(it["NumRestarts"] for it in actors_of_all_times()), "the actor had work left"
    assert counts == dict.fromkeys(range(8000), 1)


def embed_files(model, source, checkpoint, sink):
    """Embed files with Ray Data's checkpoints: the program of a user."""
    import ray.data
    from ray.data.checkpoint import CheckpointConfig

    import millpond_ray

    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(id_column="id", checkpoint_path=str(checkpoint))
    try:
        rows = ray.data.read_parquet(str(source)).repartition(8)  # Ray reads small files as one block
        results = millpond_ray.map(rows, Recipe(model=str(model)), batch_size=100)
        results.write_parquet(str(sink))
    finally:
        context.checkpoint_config = None


def test_killed_program_resumes_from_the_checkpoint_of_ray(cluster, bert, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folders = source, checkpoint, sink = [tmp_path / name for name in ("source", "checkpoint", "sink")]
    source.mkdir()
    for part in range(8):
        ids = list(range(part * 250, part * 250 + 250))
        pq.write_table(pa.table({"id": ids, "text": [f"cat {it}" for it in ids]}), source / f"{part}.parquet")
    program = "\n".join(
        [
            "import sys, ray",
            "from millpond_jobs import Recipe",
            inspect.getsource(embed_files),
            "ray.init(address=sys.argv[1], log_to_driver=False)",
            "embed_files(*sys.argv[2:])",
        ]
    )
    command = [sys.executable, "-c", program, *map(str, (cluster, bert, *folders))]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + TIMEOUT_S
    # On resume, Ray removes files whose part of the checkpoint is still named "pending".
    while not any(not path.name.endswith(".pending.parquet") for path in checkpoint.rglob("*.parquet")):
        assert first.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.kill()
    first.wait()
    before = {path.name for path in sink.glob("*.parquet")}
    embed_files(bert, source, checkpoint, sink)
    assert sorted(pq.read_table(sink)["id"].to_pylist()) == list(range(2000))
    assert before & {path.name for path in sink.glob("*.parquet")}, "files of the first run are kept"


def test_workers_of_an_actor_follow_its_cpus(cluster, recipe):
    import ray

    from millpond_ray import RecipeActor

    class Probe(RecipeActor):
        def workers(self):
            return self._runner.llm.engine_config.num_workers, str(self._runner.llm.pipeline.ctx.device)

    for cpus in (1, 2):
        actor = ray.remote(num_cpus=cpus)(Probe).remote(recipe)
        assert ray.get(actor.workers.remote(), timeout=TIMEOUT_S) == (cpus, "cpu")
        ray.kill(actor)


def test_model_is_fetched_once_per_node(needs_ray, tmp_path, monkeypatch):
    from millpond_ray.node import fetching

    folder, downloads, both_run = tmp_path / "cache", [], threading.Barrier(2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fetch():
        both_run.wait(TIMEOUT_S)
        with fetching("bucket:model", {}):
            if not folder.exists():
                downloads.append(threading.get_ident())
                time.sleep(0.2)  # long enough for the other one to look, if it did not wait
                folder.mkdir()

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(downloads) == 1


def test_a_plugin_of_this_process_alone_is_refused(needs_ray, bert, plugin_manager, monkeypatch):
    from millpond_ray import data

    for module in (data, model_facts):
        monkeypatch.setattr(module, "get_plugin_manager", lambda: plugin_manager)
    plugin_manager.register(plugin_manager.registry.architectures.find("BertModel").spec, plugin="mine")
    with pytest.raises(RecipeError, match=r"mine.* registered at run time and does not exist in other processes"):
        data.map(None, Recipe(model=str(bert)))


@pytest.mark.skipif(find_spec("ray") is not None, reason="needs an environment without Ray")
def test_error_without_ray_names_the_extra():
    with pytest.raises(ImportError, match=r"`millpond_ray` needs ray, which the extra 'ray' installs: pip install"):
        millpond_ray.map  # noqa: B018
