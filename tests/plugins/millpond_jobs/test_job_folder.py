"""The folder of a job: unusual places and names work, damaged content is named, other files are not changed."""

import json
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from permissions import respected_permissions

from millpond_jobs import Recipe, export, run, status, verify
from millpond_jobs.errors import JobError, ShardError
from millpond_jobs.folder.leases import host_name
from millpond_recipes.errors import InputError
from millpond_recipes.runner import Runner
from millpond_storage.checked import read_checked, write_checked

FIRST = "00000-00000"


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="truncate")


@pytest.fixture
def stopped(recipe, rows, write_jsonl, tmp_path):
    """The folder of a job that was planned and then stopped."""
    stop = threading.Event()
    stop.set()
    run(write_jsonl(rows), tmp_path / "out", recipe, shard_rows=16, stop=stop)
    return tmp_path / "out"


@pytest.fixture
def resume(stopped, recipe, tmp_path):
    return lambda: run(tmp_path / "rows.jsonl", stopped, recipe)


@pytest.mark.parametrize("name", ["a b.jsonl", "[x].jsonl", "*.jsonl", "new\nline.jsonl", "ü.jsonl", "$(exit).jsonl"])
def test_unusual_names_of_inputs_are_taken_literally(recipe, rows, write_jsonl, tmp_path, name):
    write_jsonl(rows[:1], "other.jsonl")
    assert run(write_jsonl(rows[:3], name), tmp_path / "out", recipe).rows == 3
    assert verify(tmp_path / "out").ok


def test_a_name_that_is_not_utf8_is_refused(recipe, rows, write_jsonl, tmp_path):
    try:
        path = write_jsonl(rows, os.fsdecode(b"\xff.jsonl"))
    except OSError:
        pytest.skip("needs a file system with names that are not UTF-8")
    with pytest.raises(InputError, match=r"'.*udcff\.jsonl' is not UTF-8: rename"):
        run(path, tmp_path / "out", recipe)


def test_inputs_and_the_folder_may_be_links(recipe, rows, write_jsonl, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    (tmp_path / "link.jsonl").symlink_to(write_jsonl(rows))
    assert run(tmp_path / "link.jsonl", tmp_path / "out", recipe).rows == len(rows)
    assert status(tmp_path / "real").is_finished


@pytest.mark.parametrize("target", ["missing.jsonl", "link.jsonl"])
def test_a_link_to_nothing_or_to_itself_is_no_input(recipe, tmp_path, target):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="no file matches"):
        run(tmp_path / "link.jsonl", tmp_path / "out", recipe)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs /dev/shm")
def test_the_folder_may_be_on_a_different_file_system(recipe, rows, write_jsonl):
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        assert run(write_jsonl(rows), folder, recipe, shard_rows=16).finished
        assert verify(folder).ok
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl/out", "dangling", "x" * 300])
def test_a_folder_that_cannot_be_created_is_an_error(recipe, rows, write_jsonl, tmp_path, name):
    (tmp_path / "dangling").symlink_to(tmp_path / "no" / "where")
    with pytest.raises(JobError, match="cannot create the folder"):
        run(write_jsonl(rows), tmp_path / name, recipe)


@pytest.mark.parametrize("name", ["shards", "done", "leases", "."])
def test_a_read_only_folder_is_an_error(stopped, resume, name):
    mode = (stopped / name).stat().st_mode
    for file in stopped.glob("*.jsonl") if name == "." else ():
        file.unlink()
    (stopped / name).chmod(0o500)
    try:
        with respected_permissions(), pytest.raises(JobError, match=r"cannot .*Permission denied"):
            resume()
    finally:
        (stopped / name).chmod(mode)
    assert resume().finished


@pytest.mark.parametrize(
    ("name", "error"),
    [("job.json", JobError), (f"done/{FIRST}.json", ShardError), ("shards", JobError), ("../rows.jsonl", InputError)],
)
def test_a_file_that_cannot_be_read_is_an_error(stopped, resume, name, error):
    resume()
    path = stopped / name
    mode = path.stat().st_mode
    if error is InputError:
        (stopped / "done" / f"{FIRST}.json").unlink()
    path.chmod(0)
    try:
        with respected_permissions(), pytest.raises(error, match="Permission denied"):
            export(stopped, f"npy:{stopped.parent / 'v.npy'}") if name == "shards" else resume()
    finally:
        path.chmod(mode)


def test_a_link_in_place_of_a_shard_is_replaced(stopped, resume, tmp_path):
    (tmp_path / "thesis.tex").write_text("thesis")
    (stopped / "shards" / f"{FIRST}.parquet").symlink_to(tmp_path / "thesis.tex")
    assert resume().finished
    assert (tmp_path / "thesis.tex").read_text() == "thesis"


@pytest.mark.parametrize("name", [f"shards/{FIRST}.parquet", "failed.jsonl"])
def test_a_folder_in_place_of_a_file_is_to_be_removed_by_hand(stopped, resume, name):
    (stopped / name).mkdir()
    with pytest.raises(JobError, match=f"cannot .*{name}: .*; remove it by hand, then run the job again"):
        resume()
    assert not list((stopped / "shards").glob(f"{FIRST}*.tmp"))
    (stopped / name).rmdir()
    assert resume().finished


@pytest.mark.parametrize("name", [f"shards/{FIRST}.parquet", f"done/{FIRST}.json"])
def test_a_folder_in_place_of_a_finished_file_is_not_repaired(stopped, resume, name):
    resume()
    (stopped / name).unlink()
    (stopped / name / "thesis").mkdir(parents=True)
    (stopped / "shards" / "00000-00001.parquet").write_bytes(b"")
    assert verify(stopped, sample=0).damaged[FIRST].endswith("not a regular file")
    with pytest.raises(
        JobError, match=f"^cannot replace .*{name}: it is a folder; remove it by hand, then run the job"
    ):
        verify(stopped, sample=0, repair=True)
    assert not (stopped / "done" / "00000-00001.json").exists()  # others are repaired
    (stopped / name / "thesis").rmdir()
    (stopped / name).rmdir()
    assert resume().finished
    assert verify(stopped, sample=0).ok


def test_a_folder_in_place_of_an_old_lease_does_not_end_a_finished_job(stopped, resume):
    (stopped / "leases" / "zzz").mkdir()
    os.utime(stopped / "leases" / "zzz", (0, 0))
    assert resume().finished


@pytest.mark.parametrize("content", ["", "[1]", '{"rows": 4}', json.dumps({"rows": "x"})])
def test_a_damaged_record_of_a_shard_is_named_and_repaired(stopped, resume, content):
    (stopped / "done" / f"{FIRST}.json").write_text(content)
    with pytest.raises(ShardError, match=rf"{FIRST}\.json is damaged: .*; run `millpond job verify --repair`"):
        resume()
    assert list(verify(stopped, sample=0, repair=True).damaged) == [FIRST]
    assert resume().finished


def test_a_record_without_its_shard_is_named_and_computed_again(stopped, resume):
    resume()
    done, _ = read_checked(stopped / "done" / f"{FIRST}.json")
    write_checked(stopped / "done" / f"{FIRST}.json", done | {"failed": 1})
    (stopped / "shards" / f"{FIRST}.parquet").unlink()
    assert verify(stopped, sample=0).damaged == {FIRST: "its file is missing"}
    assert resume().failed == 0
    assert not verify(stopped, sample=0).damaged


def test_shards_of_a_host_that_went_silent_are_computed(stopped, resume):
    holder = {"token": "other", "host": "elsewhere", "pid": 1, "started": None}
    lease = stopped / "leases" / FIRST
    lease.write_text(json.dumps(holder))
    os.utime(lease, (0, 0))
    partial = stopped / "shards" / f"{FIRST}.parquet.0123456789ab.tmp"
    partial.write_bytes(b"half a sh")
    assert resume().rows == 60
    assert not partial.exists()
    assert not lease.exists()


def test_a_worker_that_lost_a_lease_while_it_was_suspended_does_not_write(stopped, resume, monkeypatch):
    lease, compute, calls = stopped / "leases" / FIRST, Runner.compute, []

    def compute_after_a_takeover(self, rows):
        if not calls:  # by a worker that has ended since
            lease.write_text(json.dumps({"token": "other", "host": host_name(), "pid": os.getpid(), "started": "1"}))
        calls.append(len(rows.columns["id"]))
        return compute(self, rows)

    monkeypatch.setattr(Runner, "compute", compute_after_a_takeover)
    assert resume().finished
    assert sum(calls) == 60 + calls[0]  # the first shard was computed again and written once
    events = [json.loads(line) for line in (stopped / "journal.jsonl").read_text().splitlines()]
    names = [event["name"] for event in events if event["event"] == "shard"]
    assert sorted(names) == sorted(path.stem for path in (stopped / "done").iterdir())


def test_files_of_processes_killed_while_they_wrote_descriptions_are_removed(recipe, rows, write_jsonl, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    source = write_jsonl([*rows, {"id": "x", "text": None}])
    for name in ("job.json", "failed.jsonl"):  # the second one exists only in a folder with a job
        (folder / f"{name}.0123456789ab.tmp").write_text('{"format": 1, "id"')
        assert run(source, folder, recipe).failed == 1
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
            ".lock",
            "failed.jsonl",
            "job.json",
            "journal.jsonl",
        ]


def test_files_that_no_shard_has_are_ignored(stopped, resume):
    for name in ("shards/zzz.parquet", "done/zzz.json", "leases/zzz"):
        (stopped / name).write_text("{}")
    assert resume().rows == 60
    assert verify(stopped).ok
