"""Jobs: results equal LLM's, a second run resumes, and every fault ends with an error that loses nothing."""

import json
import os
import threading
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.testing.pictures import picture
from millpond_jobs import Recipe, planning, run, status, worker
from millpond_jobs.errors import JobError, RecipeMismatchError
from millpond_jobs.folder import folder as folders
from millpond_jobs.shards import cut_into_shards
from millpond_kernels import native
from millpond_models.testing.dual_encoders import tiny_dual_encoder
from millpond_recipes.errors import InputError


@pytest.fixture
def recipe(bert):
    return Recipe(model=str(bert), id_column="id", on_overflow="truncate")


def shard_hashes(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "shards").iterdir())}


class StopAfter(threading.Event):
    """An event that is set after N calls of ``is_set``."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def is_set(self):
        self.times -= 1
        return super().is_set() or self.times < 0


def read(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted((folder / "shards").glob("*.parquet")))


def test_results_equal_llm_in_the_order_of_the_inputs(recipe, bert, rows, write_jsonl, tmp_path):
    first, second = write_jsonl(rows[:40], "a.jsonl"), write_jsonl(rows[40:], "b.jsonl")
    result = run([first, second], tmp_path / "out", recipe, shard_rows=16)
    assert (result.rows, result.failed, result.finished) == (60, 0, True)
    results = read(tmp_path / "out")
    assert results.column_names == ["id", "vector", "num_tokens", "truncated", "error"]
    assert results.column("id").to_pylist() == [row["id"] for row in rows]
    with LLM(str(bert), batch_invariant=True) as llm:
        outputs = llm.embed([row["text"] for row in rows], use_tqdm=False, on_overflow="truncate")
    exact = np.stack([output.outputs.array for output in outputs])
    assert np.array_equal(np.array(results.column("vector").to_pylist(), np.float32), exact)
    assert result.tokens == sum(output.num_prompt_tokens for output in outputs)


def test_ids_are_row_numbers_over_all_files_without_a_column(bert, rows, write_jsonl, tmp_path):
    files = [write_jsonl(rows[:25], "a.jsonl"), write_jsonl(rows[25:], "b.jsonl")]
    run(files, tmp_path / "out", Recipe(model=str(bert)), shard_rows=8)
    assert read(tmp_path / "out").column("id").to_pylist() == list(range(60))


def test_a_stopped_job_resumes_to_the_same_bytes(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    source = write_jsonl(rows)
    run(source, tmp_path / "whole", recipe, shard_rows=8)
    stop, commit = threading.Event(), folders.JobFolder.commit

    def commit_and_stop(self, *arguments, **options):
        stop.set()
        return commit(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(folders.JobFolder, "commit", commit_and_stop)
        stopped = run(source, tmp_path / "out", recipe, shard_rows=8, stop=stop)
    assert not stopped.finished
    assert 0 < stopped.rows < 60
    state = status(tmp_path / "out")
    assert (state.finished_rows, state.is_finished, state.running) == (stopped.rows, False, 0)
    before = shard_hashes(tmp_path / "out")
    assert run(source, tmp_path / "out", recipe).finished
    after = shard_hashes(tmp_path / "out")
    assert after == shard_hashes(tmp_path / "whole")
    assert before.items() <= after.items()


def test_the_progress_of_a_worker_counts_the_shards_of_others(recipe, rows, write_jsonl, tmp_path, monkeypatch, capsys):
    source, folder = write_jsonl(rows), tmp_path / "out"
    commit, stop, workers = folders.JobFolder.commit, threading.Event(), ["first"]

    def commit_and_share(self, *arguments, **options):
        done = commit(self, *arguments, **options)
        if len(workers) == 1:
            workers.append("second")
            run(source, folder, recipe, stop=stop)
        stop.set()  # the second worker ends after its first shard
        return done

    monkeypatch.setattr(folders.JobFolder, "commit", commit_and_share)
    assert run(source, folder, recipe, shard_rows=8, progress=True).rows == 60
    assert "60 of 60 rows (100%)" in capsys.readouterr().err


def test_a_finished_job_does_not_load_the_model_again(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    source = write_jsonl(rows)
    run(source, tmp_path / "out", recipe)
    monkeypatch.setattr("millpond_jobs.job.Runner", None)
    assert run(source, tmp_path / "out", recipe).rows == 60


def test_failed_rows_are_null_and_listed(recipe, write_jsonl, tmp_path):
    lines = [{"id": "a", "text": "the cat"}, {"id": "b", "text": None}, "{broken", {"id": "d", "text": "mat"}]
    result = run(write_jsonl(lines), tmp_path / "out", recipe)
    assert (result.rows, result.failed) == (4, 2)
    assert [row is None for row in read(tmp_path / "out").column("vector").to_pylist()] == [False, True, True, False]
    listed = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert [row["id"] for row in listed] == ["b", None]
    assert (listed[1]["row"], listed[1]["error"][:24]) == (2, "the row cannot be read: ")


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.parquet", "empty.csv"])
def test_an_empty_file_is_a_finished_job_without_rows(recipe, tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), path)
    else:
        path.write_text("id,text\n" if name.endswith("csv") else "")
    result = run(path, tmp_path / "out", recipe)
    assert (result.rows, result.finished) == (0, True)


def test_a_file_of_one_row(recipe, write_jsonl, tmp_path):
    assert run(write_jsonl([{"id": "a", "text": "cat"}]), tmp_path / "out", recipe).rows == 1


def test_a_row_of_ten_megabytes_becomes_a_separate_shard(recipe, write_jsonl, tmp_path):
    rows = [{"id": "a", "text": "cat"}, {"id": "b", "text": "the cat sat " * 900_000}, {"id": "c", "text": "mat"}]
    result = run(write_jsonl(rows), tmp_path / "out", recipe)
    assert (result.rows, result.failed) == (3, 0)
    assert read(tmp_path / "out").column("truncated").to_pylist() == [False, True, False]


def test_integer_ids_stay_integers_even_where_a_shard_has_none(bert, write_jsonl, tmp_path):
    ids = [7, 2**40, None, None]
    source = write_jsonl([{"id": number, "text": "the cat"} for number in ids])
    run(source, tmp_path / "out", Recipe(model=str(bert), id_column="id"), shard_rows=1)
    results = read(tmp_path / "out").column("id")
    assert results.type == pa.int64()
    assert results.to_pylist() == ids


def test_messages_are_read_from_lists(bert, tmp_path, write_jsonl):
    model = tiny("Qwen3Model", tmp_path / "chat")
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    conversation = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]
    path = write_jsonl([{"text": conversation}, {"text": "the mat"}])
    run(path, tmp_path / "out", Recipe(model=str(model)))
    with LLM(str(model), batch_invariant=True) as llm:
        exact = llm.embed({"messages": conversation}, use_tqdm=False)[0].outputs.array
    assert np.array_equal(np.array(read(tmp_path / "out").column("vector")[0].as_py(), np.float32), exact)


def test_images_are_read_from_parquet_by_path_and_as_bytes(tmp_path):
    model = tiny_dual_encoder("CLIPModel", tmp_path / "clip")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(40, 30, number).save(path)
    pq.write_table(pa.table({"image": [str(path) for path in paths]}), tmp_path / "paths.parquet")
    pq.write_table(pa.table({"image": [path.read_bytes() for path in paths]}), tmp_path / "bytes.parquet")
    recipe = Recipe(model=str(model), image_column="image")
    for name in ("paths", "bytes"):
        assert run(tmp_path / f"{name}.parquet", tmp_path / name, recipe, shard_rows=2).failed == 0
    assert read(tmp_path / "paths").equals(read(tmp_path / "bytes"))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl.zst"])
def test_pairs_of_a_compressed_file_are_scored_and_resumed(tmp_path, suffix):
    pairs = [(f"the cat {number}", f"sat on the mat {number}") for number in range(20)]
    lines = [json.dumps({"query": query, "text": text}) for query, text in pairs]
    if suffix.startswith("csv"):
        lines = ["query,text", *(",".join(pair) for pair in pairs)]
    path = tmp_path / f"pairs.{suffix}"
    with pa.CompressedOutputStream(path, "zstd") if suffix.endswith("zst") else pa.output_stream(path) as file:
        file.write("\n".join(lines).encode())  # output_stream compresses a file named .gz
    model = tiny("BertForSequenceClassification", tmp_path / "scores", num_labels=1)
    recipe = Recipe(model=str(model), task="score", query_column="query")
    run(path, tmp_path / "whole", recipe, shard_rows=4)
    interrupted = run(path, tmp_path / "out", recipe, shard_rows=4, stop=StopAfter(4))
    assert not interrupted.finished
    assert run(path, tmp_path / "out", recipe).rows == 20
    assert shard_hashes(tmp_path / "out") == shard_hashes(tmp_path / "whole")
    with LLM(str(model), batch_invariant=True) as llm:
        outputs = llm.score(*map(list, zip(*pairs, strict=True)), use_tqdm=False)
    assert read(tmp_path / "out").column("score").to_pylist() == [output.outputs.score for output in outputs]


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_missing_column_is_refused_before_the_model_is_loaded(bert, rows, write_jsonl, tmp_path, monkeypatch):
    monkeypatch.setattr("millpond_jobs.job.Runner", None)
    with pytest.raises(InputError, match=r"rows\.jsonl has no column 'body'. Available: id, text; .*--text-column"):
        run(write_jsonl(rows), tmp_path / "out", Recipe(model=str(bert), text_column="body"))


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_column_that_occurs_twice_is_refused(recipe, tmp_path, name):
    table = pa.table([["1"], ["a"], ["b"]], names=["id", "text", "text"])
    if name == "rows.csv":
        pa.csv.write_csv(table, tmp_path / name)
    else:
        pq.write_table(table, tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} has 2 columns 'text': rename or remove all but one of them"):
        run(tmp_path / name, tmp_path / "out", recipe)


def test_an_input_that_is_still_written_is_refused(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    """Rows that follow after they were counted would be left out without an error."""
    source = write_jsonl(rows)

    def write_after_cutting(*arguments):
        yield from cut_into_shards(*arguments)
        with source.open("a") as file:
            file.write('{"id": "late", "text": "a row"}\n')

    monkeypatch.setattr(planning, "cut_into_shards", write_after_cutting)
    with pytest.raises(InputError, match=r"rows\.jsonl was changed while the job was planned: wait until it is"):
        run(source, tmp_path / "out", recipe)
    monkeypatch.undo()
    assert run(source, tmp_path / "out", recipe).rows == len(rows) + 1


def test_duplicate_ids_are_named_or_allowed(recipe, rows, write_jsonl, tmp_path):
    source = write_jsonl([*rows, rows[3]])
    with pytest.raises(
        InputError,
        match=r"the id 'row-3' occurs twice: in row 3 of rows\.jsonl and row 60 of rows.*--allow-duplicate-ids",
    ):
        run(source, tmp_path / "out", recipe)
    assert run(source, tmp_path / "out", recipe, allow_duplicate_ids=True).rows == 61


def test_ids_of_different_types_are_refused(recipe, write_jsonl, tmp_path):
    files = [write_jsonl([{"id": 1, "text": "a"}], "a.jsonl"), write_jsonl([{"id": "x", "text": "a"}], "b.jsonl")]
    with pytest.raises(InputError, match=r"different types: int64 in .*a\.jsonl and string in .*b\.jsonl"):
        run(files, tmp_path / "out", recipe)


def test_a_different_recipe_is_refused_with_the_difference(recipe, rows, write_jsonl, tmp_path):
    source = write_jsonl(rows)
    run(source, tmp_path / "out", recipe)
    with pytest.raises(RecipeMismatchError, match="dimensions was not set, is 8"):
        run(source, tmp_path / "out", recipe.model_copy(update={"dimensions": 8}))
    with pytest.raises(RecipeMismatchError, match=r"the input .*other\.jsonl is new"):
        run([source, write_jsonl(rows, "other.jsonl")], tmp_path / "out", recipe)


def test_a_changed_model_is_refused(rows, write_jsonl, tmp_path):
    model = tiny("BertModel", tmp_path / "model")
    recipe = Recipe(model=str(model))
    run(write_jsonl(rows), tmp_path / "out", recipe)
    tiny("BertModel", model, seed=5)
    with pytest.raises(RecipeMismatchError, match=r"file model\.safetensors of the model has changed"):
        run(tmp_path / "rows.jsonl", tmp_path / "out", recipe)


def test_a_changed_template_file_is_refused(write_jsonl, tmp_path):
    model, template = tiny("Qwen3Model", tmp_path / "model"), tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    recipe = Recipe(model=str(model), args={"chat_template": str(template)})
    source = write_jsonl([{"text": [{"role": "user", "content": "the cat"}]}])
    assert run(source, tmp_path / "out", recipe).failed == 0
    template.write_text("{% for m in messages %}{{ m.content }}!{% endfor %}")
    with pytest.raises(RecipeMismatchError, match=r"file .*template\.jinja of the model has changed"):
        run(source, tmp_path / "out", recipe, allow_mixed=True)


@pytest.mark.parametrize(
    ("name", "value", "difference"),
    [
        ("MILLPOND_CPU_LEVEL", "avx2", "device was cpu:.*, is cpu:.*MILLPOND_CPU_LEVEL=avx2"),
        ("MILLPOND_NO_NATIVE", "1", "kernel of attention was kernels/attention.native, is kernels/attention.reference"),
    ],
)
def test_different_kernels_are_refused(recipe, rows, write_jsonl, tmp_path, monkeypatch, name, value, difference):
    monkeypatch.delenv(name, raising=False)
    if name == "MILLPOND_NO_NATIVE" and not native.is_available():
        pytest.skip("needs compiled kernels")
    source = write_jsonl(rows)
    run(source, tmp_path / "out", recipe)
    monkeypatch.setenv(name, value)
    with pytest.raises(RecipeMismatchError, match=difference):
        run(source, tmp_path / "out", recipe)


@pytest.mark.skipif(not native.is_available(), reason="needs compiled kernels")
def test_different_kernels_are_refused_in_bfloat16(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    """On a CPU, such a model computes in float32 with weights in bfloat16, by other kernels than one in bfloat16."""
    source, recipe = write_jsonl(rows), recipe.model_copy(update={"args": {"dtype": "bfloat16"}})
    run(source, tmp_path / "out", recipe)
    monkeypatch.setenv("MILLPOND_NO_NATIVE", "1")
    with pytest.raises(RecipeMismatchError, match=r"kernel of linear was kernels/linear\.bf16_native"):
        run(source, tmp_path / "out", recipe)


def test_many_differences_are_counted(recipe, rows, write_jsonl, tmp_path):
    run(write_jsonl(rows), tmp_path / "out", recipe)
    others = [write_jsonl(rows[:1], f"{number}.jsonl") for number in range(50)]
    with pytest.raises(RecipeMismatchError, match=r"0\.jsonl is new; .*; 31 other differences; use the same"):
        run(others, tmp_path / "out", recipe)


def test_a_different_processor_is_refused_unless_it_may_differ(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    source, stop = write_jsonl(rows), threading.Event()
    stop.set()
    run(source, tmp_path / "out", recipe, stop=stop)
    monkeypatch.setattr("millpond_recipes.fingerprint.device_name", lambda _: "cpu:OTHER")
    with pytest.raises(RecipeMismatchError, match=r"device was cpu:.*, is cpu:OTHER"):
        run(source, tmp_path / "out", recipe)
    assert run(source, tmp_path / "out", recipe, allow_mixed=True).finished


def test_an_input_that_changed_between_runs_is_refused(recipe, rows, write_jsonl, tmp_path):
    source, stop = write_jsonl(rows), threading.Event()
    stop.set()
    run(source, tmp_path / "out", recipe, stop=stop)
    os.utime(source)  # the same content, touched
    write_jsonl([*rows, {"id": "new", "text": "a"}])
    with pytest.raises(InputError, match=r"rows\.jsonl has changed since the job was planned"):
        run(source, tmp_path / "out", recipe)
    write_jsonl(rows)
    assert run(source, tmp_path / "out", recipe).finished


def test_an_input_that_changes_during_a_run_stops_it(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    source, commit = write_jsonl(rows), folders.JobFolder.commit

    def commit_and_touch(self, *arguments, **options):
        done = commit(self, *arguments, **options)
        write_jsonl([*rows, {"id": "new", "text": "a"}])
        return done

    monkeypatch.setattr(folders.JobFolder, "commit", commit_and_touch)
    with pytest.raises(InputError, match="was changed while the job was reading it"):
        run(source, tmp_path / "out", recipe, shard_rows=8)
    assert status(tmp_path / "out").finished_shards == 1


def test_a_folder_with_other_files_is_refused(recipe, rows, write_jsonl, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("a")
    with pytest.raises(JobError, match=r"not empty: it contains 'thesis\.tex'"):
        run(write_jsonl(rows), tmp_path / "out", recipe)


@pytest.mark.parametrize("finished", [0, 3, 10])
def test_a_full_disk_stops_the_job_and_keeps_what_was_written(
    recipe, rows, write_jsonl, tmp_path, monkeypatch, finished
):
    """At the first, a middle or the last of eleven shards; at the last one, the job waited for itself."""
    source, write_table, written = write_jsonl(rows), folders.write_table, []

    def write_until_full(table, path):
        if len(written) == finished:
            path.write_bytes(b"half a sh")
            raise OSError(28, "No space left on device")
        written.append(path)
        write_table(table, path)

    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_table", write_until_full)
        with pytest.raises(JobError, match=r"cannot write .*parquet: No space left on device"):
            run(source, tmp_path / "out", recipe, shard_rows=8)
    assert status(tmp_path / "out").finished_shards == finished
    assert len(list((tmp_path / "out" / "shards").iterdir())) == finished
    run(source, tmp_path / "out", recipe)
    run(source, tmp_path / "whole", recipe, shard_rows=8)
    assert shard_hashes(tmp_path / "out") == shard_hashes(tmp_path / "whole")


def test_a_damaged_description_is_named(recipe, rows, write_jsonl, tmp_path):
    run(write_jsonl(rows), tmp_path / "out", recipe)
    (tmp_path / "out" / "job.json").write_text('{"format": 2}')
    with pytest.raises(JobError, match=r"job\.json is damaged: format"):
        status(tmp_path / "out")


def test_a_worker_waits_for_shards_of_others(recipe, rows, write_jsonl, tmp_path, monkeypatch):
    source = write_jsonl(rows)
    monkeypatch.setattr(worker, "POLL_S", 0.01)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(run(source, tmp_path / "out", recipe, shard_rows=4)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.finished for result in results] == [True, True]
    shards = [json.loads(line) for line in (tmp_path / "out" / "journal.jsonl").read_text().splitlines()]
    computed = [event["name"] for event in shards if event["event"] == "shard"]
    assert len(computed) == len(set(computed)) == status(tmp_path / "out").shards
