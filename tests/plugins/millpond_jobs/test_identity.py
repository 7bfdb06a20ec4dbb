"""Shards belong to one job: those of other jobs, swapped and changed ones are found, and secrets are not stored."""

import json
import os
import shutil
import sys
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_disk import tiny_disk

from millpond.plugin.manager import get_plugin_manager
from millpond.testing.checkpoints import tiny
from millpond_jobs import Recipe, export, run, verify
from millpond_jobs.errors import JobError, ShardError
from millpond_jobs.folder.folder import Done, JobFolder
from millpond_jobs.folder.leases import host_name, is_expired
from millpond_jobs.inputs import ShardReader
from millpond_jobs.shards import Shard
from millpond_jobs.state import _rates
from millpond_recipes.errors import InputError
from millpond_recipes.sources.files import find_inputs
from millpond_text.kinds import TextStepSpec

NAMES = ["00000-00000", "00000-00001"]


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="truncate")


@pytest.fixture
def finished(recipe, rows, write_jsonl, tmp_path):
    run(write_jsonl(rows), tmp_path / "out", recipe, shard_rows=16)
    return tmp_path / "out"


def test_shards_of_another_job_are_not_taken_over_without_its_description(finished, tmp_path):
    (finished / "job.json").unlink()
    other = Recipe(model=str(tiny("BertModel", tmp_path / "other", seed=7)), id_column="id", on_overflow="truncate")
    with pytest.raises(JobError, match=r"has no job.json, but results: done/00000-00000\.json: .*different job"):
        run(tmp_path / "rows.jsonl", finished, other, shard_rows=16)


def test_shards_of_the_same_job_are_kept_without_its_description(finished, recipe, tmp_path, monkeypatch):
    (finished / "job.json").unlink()
    monkeypatch.setattr("millpond_jobs.job.Runner", None)
    assert run(tmp_path / "rows.jsonl", finished, recipe, shard_rows=16).rows == 60


def test_verify_finds_every_shard_of_another_job(finished, tmp_path):
    other = Recipe(model=str(tiny("BertModel", tmp_path / "other", seed=7)), id_column="id", on_overflow="truncate")
    run(tmp_path / "rows.jsonl", tmp_path / "second", other, shard_rows=16)
    for folder in ("shards", "done"):
        shutil.rmtree(finished / folder)
        shutil.copytree(tmp_path / "second" / folder, finished / folder)
    damaged = verify(finished, sample=0).damaged
    assert len(damaged) == len(list((finished / "shards").iterdir()))
    assert all("different job" in reason for reason in damaged.values())


@pytest.mark.parametrize("damage", ["flipped", "swapped", "swapped with records"])
def test_an_export_of_changed_shards_is_an_error_without_output(finished, tmp_path, damage):
    paths = [finished / "shards" / f"{name}.parquet" for name in NAMES]
    records = [finished / "done" / f"{name}.json" for name in NAMES]
    if damage == "flipped":
        content = bytearray(paths[1].read_bytes())
        content[len(content) // 2] ^= 1
        paths[1].write_bytes(content)
    for first, second in ([paths] if "swapped" in damage else []) + ([records] if "records" in damage else []):
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    (tmp_path / "exports").mkdir()
    for target in ("npy", "parquet", *filter(find_spec, ("faiss", "lance"))):
        with pytest.raises(ShardError, match="is damaged: "):
            export(finished, f"{target}:{tmp_path / 'exports' / 'vectors'}.{target}")
        assert list((tmp_path / "exports").iterdir()) == [], target


def changed(text, key, value):
    content = json.loads(text)
    content[key] = value
    return json.dumps(content)


FORGERIES = (
    (lambda text: text[: len(text) // 2], r"cannot read .*job\.json: it is not complete JSON"),
    (lambda text: text.replace('"truncate"', '"chunk"'), r"job\.json is damaged: checksum: "),
    (lambda text: changed(text, "plan", [[]]), r"job\.json is damaged: plan: the shards of file 0 have 0 rows"),
    (lambda text: changed(text, "inputs", 3), r"job\.json is damaged: inputs: "),
    (lambda _: "[" * 100_000, r"cannot read .*job\.json: .*nested too deeply"),
    (lambda _: "[1]", r"cannot read .*job\.json: .*expected a JSON object"),
)


def test_a_forged_description_is_an_error_with_its_file_and_key(finished):
    path = finished / "job.json"
    true = path.read_text()
    for forge, message in FORGERIES:
        path.write_text(forge(true))
        with pytest.raises(JobError, match=message):
            verify(finished, sample=0)


def test_secrets_are_not_stored_and_the_description_is_private(bert, rows, write_jsonl, tmp_path):
    recipe = Recipe(model=str(bert), args={"hf_token": "hf_secret"}, on_overflow="truncate")
    assert "hf_secret" not in repr(recipe)
    run(write_jsonl(rows), tmp_path / "out", recipe)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"hf_secret" in path.read_bytes() for path in files)
    assert (tmp_path / "out" / "job.json").stat().st_mode & 0o777 == 0o600


def test_options_that_cannot_change_results_may_differ_on_resume(recipe, rows, write_jsonl, tmp_path):
    source = write_jsonl(rows)
    run(source, tmp_path / "out", recipe, shard_rows=16)
    (tmp_path / "out" / "done" / f"{NAMES[1]}.json").unlink()
    args = {"max_num_batched_tokens": 4096, "cache": "memory:1MB", "hf_token": "x", "num_workers": 1}
    changed_recipe = recipe.model_copy(update={"args": args, "on_error": "raise"})
    assert run(source, tmp_path / "out", changed_recipe).finished
    with pytest.raises(JobError, match=r"max_model_len was not set, is 8; use the same"):
        run(source, tmp_path / "out", recipe.model_copy(update={"args": {"max_model_len": 8}}))


STEP = """
from millpond_text.kinds import TextStep

class Exclaimed(TextStep):
    def on_prompt(self, prompt, call):
        prompt.text += "!"
"""


def test_a_job_is_not_resumed_with_another_text_step(bert, rows, write_jsonl, tmp_path, monkeypatch):
    code = tmp_path / "exclaimed_step.py"
    code.write_text(STEP, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    get_plugin_manager().register(TextStepSpec(name="exclaimed", target="exclaimed_step:Exclaimed", summary="adds a !"))
    recipe = Recipe(model=str(bert), id_column="id", on_overflow="truncate", args={"text_steps": ["exclaimed"]})
    run(write_jsonl(rows), tmp_path / "out", recipe)
    code.write_text(f"{STEP}# changed", encoding="utf-8")
    with pytest.raises(JobError, match="code of the text step 'exclaimed'"):
        run(write_jsonl(rows), tmp_path / "out", recipe)


def test_an_input_rewritten_with_the_same_size_and_time_is_refused(finished, recipe, tmp_path):
    source = tmp_path / "rows.jsonl"
    status = source.stat()
    source.write_bytes(source.read_bytes().replace(b"cat", b"dog"))
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    next((finished / "done").iterdir()).unlink()
    with pytest.raises(InputError, match="has changed since the job was planned"):
        run(source, finished, recipe)


def test_a_pipe_in_place_of_a_file_of_the_folder_is_not_waited_for(finished):
    for name in (f"shards/{NAMES[0]}.parquet", f"done/{NAMES[1]}.json"):
        (finished / name).unlink()
        os.mkfifo(finished / name)
    assert sorted(verify(finished, sample=0).damaged) == NAMES
    assert JobFolder(finished).exists


@pytest.mark.parametrize("target", ["postgres://me:pa55@host/db", "pgvector:postgress://me:pa55@host/db"])
def test_errors_of_a_target_do_not_contain_its_password(finished, target):
    pytest.importorskip("psycopg")
    with pytest.raises(JobError) as caught:
        export(finished, target)
    assert "pa55" not in str(caught.value)


def test_a_target_without_location_names_the_package_that_is_missing(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(JobError, match=r"the export to lance needs the package 'lance': pip install .*\[jobs-lance\]"):
        export(finished, "lance")


def test_a_missing_folder_of_an_export_is_named(finished, tmp_path):
    with pytest.raises(JobError, match=r"the folder .*missing of the export does not exist"):
        export(finished, f"npy:{tmp_path / 'missing' / 'v.npy'}")
    with pytest.raises(JobError, match=r"nowhere is not the folder of a job: it does not exist"):
        export(tmp_path / "nowhere", f"npy:{tmp_path / 'v.npy'}")


@pytest.mark.parametrize("kind", ["npy", "parquet", "faiss"])
def test_a_full_disk_during_an_export_is_an_error_and_leaves_nothing(finished, tmp_path, kind):
    if kind == "faiss":
        pytest.importorskip("faiss")
    with tiny_disk(tmp_path / "disk", 1) as disk:
        with pytest.raises(JobError, match=r"cannot write "):
            export(finished, f"{kind}:{disk.path / 'v'}")
        assert list(disk.path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_an_input_that_is_cut_while_it_is_read_is_an_error(tmp_path, suffix):
    table = pa.table({"text": [f"{number} {os.urandom(200).hex()}" for number in range(20_000)]})
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=2_000, use_dictionary=False, compression="none")
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
    (name,) = find_inputs([path])
    reader = ShardReader(name, ["text"])
    os.truncate(path, 100_000)
    with pytest.raises(InputError, match=rf"cannot read .*rows\.{suffix}"):
        reader.read(Shard(0, 0, 0, 20_000))


@pytest.mark.parametrize("pid", ["x", -1, 2**70, None])
def test_a_lease_with_a_forged_process_is_not_trusted(tmp_path, pid):
    path = tmp_path / "lease"
    path.write_text(json.dumps({"token": "a", "host": host_name(), "pid": pid, "started": None}))
    assert not is_expired(path)
    os.utime(path, (0, 0))
    assert is_expired(path)


def test_a_pause_between_runs_does_not_change_the_rate_of_a_job():
    shards = [Done("j", "s", 10, 0, 0, 100, 5.0, float(end), "") for end in (5, 10, 90_005, 90_010)]
    assert _rates(shards) == (2.0, 20.0)


def test_a_missing_shard_is_computed_again_by_the_next_run(finished, recipe, tmp_path):
    path = finished / "shards" / f"{NAMES[0]}.parquet"
    content = path.read_bytes()
    path.unlink()
    run(tmp_path / "rows.jsonl", finished, recipe, shard_rows=16)
    assert path.read_bytes() == content
    assert not verify(finished, sample=0).damaged
