"""Jobs on a file system that is really full: an error at any moment, and nothing written before is lost."""

from hashlib import sha256

import pytest
from tiny_disk import tiny_disk

from millpond_jobs import Recipe, run, verify
from millpond_jobs.errors import JobError


def hashes(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / "shards").glob("*.parquet")}


@pytest.mark.parametrize("pages", [1, 2, 3, 4, 6, 9, 12, 15, 16])
def test_a_job_on_a_full_disk_resumes_to_the_same_bytes(bert, rows, write_jsonl, tmp_path, pages):
    """The disk is full while the job is planned, claimed, written, committed, or at its last shard."""
    recipe = Recipe(model=str(bert), id_column="id", on_overflow="truncate")
    source = write_jsonl([*rows, {"id": "null", "text": None}])
    run(source, tmp_path / "whole", recipe, shard_rows=16)
    with tiny_disk(tmp_path / "disk", pages) as disk:
        with pytest.raises(JobError, match="No space left on device"):
            run(source, disk.path / "out", recipe, shard_rows=16)
        kept = hashes(disk.path / "out") if (disk.path / "out" / "done").exists() else {}
        assert kept.items() <= hashes(tmp_path / "whole").items()
        disk.resize(4096)
        assert run(source, disk.path / "out", recipe, shard_rows=16).failed == 1
        assert hashes(disk.path / "out") == hashes(tmp_path / "whole")
        assert verify(disk.path / "out").ok
        assert list(disk.path.rglob("*.tmp")) == []
