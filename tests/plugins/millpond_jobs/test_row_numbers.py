"""Errors of jobs name the input file and the row in it, counted from 0, and not the row of a shard."""

import pickle

import pytest

from millpond_jobs import Recipe, retry, run, verify
from millpond_jobs.errors import ShardError
from millpond_jobs.exports.results import open_results
from millpond_jobs.folder.folder import JobFolder
from millpond_recipes.errors import FailedRowError, RecipeError


@pytest.fixture
def sources(rows, write_jsonl):
    """Two files; row 27 of the second one has no text, and row 30 is not JSON."""
    later = [*rows[:27], {"id": "bad", "text": None}, *rows[28:30], "{broken", *rows[31:]]
    return [write_jsonl(rows[:20], "a.jsonl"), write_jsonl(later, "b.jsonl")]


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), on_overflow="truncate", on_error="raise")


def test_a_job_that_stops_at_an_error_names_the_row_in_its_file(recipe, sources, tmp_path):
    with pytest.raises(RecipeError) as caught:
        run(sources, tmp_path / "out", recipe, shard_rows=16)
    assert str(caught.value) == f"row 27 of {sources[1]} (counted from 0): the column 'text' is null"


def test_a_damaged_row_is_named_once(recipe, sources, tmp_path):
    sources[1].write_text(sources[1].read_text().replace("null", '"cat"'))
    with pytest.raises(
        RecipeError, match=r"^row 30 of .*b\.jsonl \(counted from 0\): the row cannot be read: Expecting"
    ):
        run(sources, tmp_path / "out", recipe, shard_rows=16)


def test_a_retry_that_stops_at_an_error_names_the_row_in_its_file(recipe, sources, tmp_path):
    with pytest.raises(RecipeError):
        run(sources, tmp_path / "out", recipe, shard_rows=16)
    nulls = recipe.model_copy(update={"on_error": "null"})
    assert run(sources, tmp_path / "out", nulls).failed == 2
    with pytest.raises(RecipeError, match=r"^row 27 of .*b\.jsonl \(counted from 0\): the column 'text' is null$"):
        retry(tmp_path / "out")


def test_rows_that_differ_in_a_sample_are_named_with_their_file(recipe, rows, write_jsonl, tmp_path):
    files = [write_jsonl(rows[:20], "a.jsonl"), write_jsonl(rows[20:], "b.jsonl")]
    run(files, tmp_path / "out", recipe, shard_rows=16)
    job = JobFolder(tmp_path / "out")
    manifest = job.read_manifest()
    shard = manifest.shards()[-1]
    table = job.read_shard(manifest, shard)
    turned = table.set_column(1, "vector", table.column("vector").take([1, 0, *range(2, table.num_rows)]))
    job.commit(manifest, shard, turned, seconds=1)
    first = {"file": str(files[1]), "row": shard.start, "id": 20 + shard.start}
    assert verify(tmp_path / "out", sample=100).different == [
        first,
        {**first, "row": first["row"] + 1, "id": first["id"] + 1},
    ]


def test_positions_of_exported_rows_leave_out_failed_ones(recipe, sources, tmp_path):
    run(sources, tmp_path / "out", recipe.model_copy(update={"on_error": "null"}), shard_rows=16)
    results = open_results(tmp_path / "out", skip_failed=True)
    assert results.position(19) == "row 19 of a.jsonl"
    assert [results.position(20 + row) for row in (26, 27, 29)] == [f"row {row} of b.jsonl" for row in (26, 28, 31)]


def test_errors_of_rows_and_shards_keep_their_details_between_processes():
    row = pickle.loads(pickle.dumps(FailedRowError(3, "it is null")))
    assert (str(row), row.row, row.reason) == ("row 3: it is null", 3, "it is null")
    shard = pickle.loads(pickle.dumps(ShardError("a is damaged", "damaged")))
    assert (str(shard), shard.reason) == ("a is damaged", "damaged")
