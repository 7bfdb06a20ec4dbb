"""Retry computes failed rows again; verify finds damage and repairs it."""

import json
from hashlib import sha256

import pyarrow.parquet as pq
import pytest

from millpond.testing.pictures import picture
from millpond_jobs import Recipe, retry, run, verify
from millpond_jobs.folder import folder as folders
from millpond_models.testing.dual_encoders import tiny_dual_encoder


@pytest.fixture
def finished(bert, rows, write_jsonl, tmp_path):
    run(
        write_jsonl(rows),
        tmp_path / "out",
        Recipe(model=str(bert), id_column="id", on_overflow="truncate"),
        shard_rows=16,
    )
    return tmp_path / "out"


@pytest.fixture
def images(tmp_path, write_jsonl):
    """A job over images of which two are missing."""
    model = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        picture(40, 30, number).save(path)
    source = write_jsonl([{"id": path.stem, "image": str(path)} for path in paths])
    recipe = Recipe(model=str(model), image_column="image", id_column="id")
    run(source, tmp_path / "whole", recipe, shard_rows=8)
    missing = [path.rename(path.with_suffix(".away")) for path in (paths[1], paths[4])]
    run(source, tmp_path / "out", recipe, shard_rows=8)
    return tmp_path, missing


def hashes(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / "shards").iterdir()}


def test_retry_computes_failed_rows_to_the_bytes_of_a_job_without_failures(images):
    tmp_path, missing = images
    listed = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in listed] == ["1", "4"]
    assert retry(tmp_path / "out").failed == 2
    for path in missing:
        path.rename(path.with_suffix(".png"))
    result = retry(tmp_path / "out")
    assert (result.rows, result.failed) == (6, 0)
    assert (tmp_path / "out" / "failed.jsonl").read_text() == ""
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert verify(tmp_path / "out").ok


def test_a_crash_during_a_retry_leaves_a_shard_that_the_next_run_computes(images, monkeypatch):
    tmp_path, missing = images
    for path in missing:
        path.rename(path.with_suffix(".png"))

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folders, "file_sha256", crash)
        with pytest.raises(KeyboardInterrupt):
            retry(tmp_path / "out")
    recipe = folders.JobFolder(tmp_path / "out").read_manifest().recipe
    assert run(tmp_path / "rows.jsonl", tmp_path / "out", recipe).failed == 1
    assert retry(tmp_path / "out").failed == 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_correct_job_is_verified_bit_by_bit(finished):
    result = verify(finished, sample=20, seed=0)
    assert result.ok
    assert (result.finished, result.shards) == (len(list((finished / "shards").iterdir())),) * 2
    assert result.sampled == result.equal > 0


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed", "replaced"])
def test_a_corrupt_shard_is_found_and_repaired(finished, damage):
    before = hashes(finished)
    path = sorted((finished / "shards").iterdir())[2]
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    if damage == "removed":
        path.unlink()
    if damage == "replaced":
        pq.write_table(pq.read_table(sorted((finished / "shards").iterdir())[3]), path)
    result = verify(finished, sample=0)
    assert list(result.damaged) == [path.stem]
    assert not result.ok
    assert verify(finished, sample=0, repair=True).repaired
    manifest = folders.JobFolder(finished).read_manifest()
    run([file.path for file in manifest.inputs], finished, manifest.recipe)
    assert hashes(finished) == before
    assert verify(finished, sample=0).ok


def test_wrong_results_with_a_right_hash_are_found_by_the_sample(finished):
    job = folders.JobFolder(finished)
    manifest = job.read_manifest()
    shard = manifest.shards()[-1]
    table = job.read_shard(manifest, shard)
    turned = table.set_column(1, "vector", table.column("vector").take(list(reversed(range(table.num_rows)))))
    job.commit(manifest, shard, turned, seconds=1)
    result = verify(finished, sample=200, seed=1)
    assert result.different
    assert not result.ok
