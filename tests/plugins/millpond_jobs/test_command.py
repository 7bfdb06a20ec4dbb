"""``millpond job``: runs, reports, checks and exports; invalid options end with a message and exit code 2."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond_command import cli


@pytest.fixture
def job():
    """Run ``millpond job`` with arguments."""

    def run(*arguments):
        return CliRunner().invoke(cli.app, ["job", *map(str, arguments)])

    return run


@pytest.fixture
def finished(job, bert, rows, write_jsonl, tmp_path):
    folder = tmp_path / "out"
    options = ("-m", bert, "--id-column", "id", "--on-overflow", "truncate", "--shard-rows", 16)
    done = job("run", write_jsonl(rows), "-o", folder, *options)
    assert done.exit_code == 0, done.stderr
    assert "60 of 60 rows (100%)" in done.stderr
    assert f", 0 failed: {folder}" in done.stderr
    return folder


def test_status_is_text_or_json(job, finished):
    done = job("status", finished)
    assert "rows    60 of 60 (100.0%)" in done.stdout
    state = json.loads(job("status", finished, "--json").stdout)
    assert (state["rows"], state["finished_rows"], state["failed"], state["finished"]) == (60, 60, 0, True)


def test_verify_ends_with_one_if_a_shard_is_damaged(job, finished):
    assert "0 damaged; 32 rows computed again, 32 of them equal in all bits" in job("verify", finished).stdout
    path = next((finished / "shards").iterdir())
    path.write_bytes(b"")
    done = job("verify", finished, "--sample", 0, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["damaged"] == {path.stem: "its content has changed since it was written"}
    assert "Run the job again" in job("verify", finished, "--sample", 0, "--repair").stderr
    assert json.loads(job("status", finished, "--json").stdout)["finished"] is False


def test_export_writes_a_file(job, finished, tmp_path):
    done = job("export", finished, "--to", f"npy:{tmp_path / 'v.npy'}")
    assert "Exported 60 rows." in done.stderr
    assert np.load(tmp_path / "v.npy").shape == (60, 32)


def test_long_commands_report_progress_on_request_and_are_quiet_on_request(job, finished, tmp_path):
    done = job("verify", finished, "--sample", 8, "--progress")
    assert re.search(r"^(\d+) of \1 shards \(100%\), .*\n8 of 8 rows \(100%\), ", done.stderr)
    done = job("export", finished, "--to", f"npy:{tmp_path / 'one.npy'}", "--progress")
    assert done.stderr.startswith("60 of 60 rows (100%), ")
    assert job("verify", finished, "--sample", 8).stderr == ""
    assert job("export", finished, "--to", f"npy:{tmp_path / 'two.npy'}", "--quiet").stderr == ""
    assert job("retry", finished, "--quiet").stderr == ""


def test_failed_rows_end_with_three_and_are_named(job, bert, write_jsonl, tmp_path):
    source = write_jsonl([{"text": "the cat"}, {"text": None}])
    done = job("run", source, "-o", tmp_path / "out", "-m", bert, "--quiet")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-2:] == [
        f"2 rows, 4 tokens, 1 failed: {tmp_path / 'out'}",
        f"{tmp_path / 'out'}/failed.jsonl lists the failed rows; `millpond job retry` computes them again.",
    ]
    retried = job("retry", tmp_path / "out", "--progress")
    assert retried.exit_code == 3
    assert retried.stderr.startswith("1 of 1 rows (100%), ")


def test_an_option_of_the_model_is_the_same_as_in_python(job, bert, rows, write_jsonl, tmp_path):
    from millpond_jobs import Recipe, run

    source = write_jsonl(rows)
    options = ("-m", bert, "--dtype", "bfloat16", "--max-model-len", 16, "--on-overflow", "truncate", "--quiet")
    assert job("run", source, "-o", tmp_path / "out", *options).exit_code == 0
    recipe = Recipe(model=str(bert), args={"dtype": "bfloat16", "max_model_len": 16}, on_overflow="truncate")
    assert run(source, tmp_path / "out", recipe).finished


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--embed-dtype", "int3"), "--embed-dtype: Input should be 'float32'"),
        (("--task", "score"), "the task 'score' needs query_column"),
        (("--task-options", "[1]"), "--task-options must be a JSON object"),
        (("--task-options", "{"), "--task-options is not JSON"),
        (("--on-error", "ignore"), "--on-error: Input should be 'null' or 'raise'"),
    ],
)
def test_an_invalid_option_ends_with_two(job, options, message, tmp_path):
    done = job("run", "rows.jsonl", "-o", tmp_path / "out", "-m", "model", *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_job_is_named(job, tmp_path):
    done = job("status", tmp_path)
    assert done.exit_code == 1
    assert "is not the folder of a job" in done.stderr


def test_a_job_of_another_space_than_expected_is_refused(job, finished, bert, write_jsonl, tmp_path):
    inputs = write_jsonl([{"text": "a mill"}])
    same = job("run", inputs, "-o", tmp_path / "same", "-m", bert, "--expect-space", finished)
    assert same.exit_code == 0, same.stderr
    changed = ("--dimensions", 8, "--hf-overrides", '{"is_matryoshka": true}')
    done = job("run", inputs, "-o", tmp_path / "other", "-m", bert, "--expect-space", finished, *changed)
    assert done.exit_code == 1
    assert "the number of dimensions differs: 8 here, 32 there" in " ".join(done.stderr.split())
    assert not (tmp_path / "other").exists()
