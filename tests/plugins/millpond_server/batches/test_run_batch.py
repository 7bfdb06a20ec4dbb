"""``millpond run-batch``: the responses of live requests, in the order of the file."""

import json
import os
import re
import threading

import numpy as np
import pytest
from typer.testing import CliRunner

from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond_command import cli


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("BertModel", tmp_path_factory.mktemp("run-batch") / "bert")


@pytest.fixture
def run(model, tmp_path):
    def run(lines, *options):
        source = tmp_path / "in.jsonl"
        source.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        arguments = ["run-batch", "-i", source, "-o", tmp_path / "out.jsonl", "-m", model, *options]
        return CliRunner().invoke(cli.app, list(map(str, arguments)))

    return run


def request_line(number, url="/v1/embeddings", **body):
    body = {"model": "bert", "input": f"the cat {number}", **body}
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}


def test_all_requests_are_answered_in_order(run, model, tmp_path):
    done = run([request_line(number) for number in range(200)], "--served-model-name", "bert")
    assert done.exit_code == 0, done.stderr
    assert "200 requests, 0 failed" in done.stderr
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["custom_id"] for record in records] == [f"request-{number}" for number in range(200)]
    with LLM(str(model)) as llm:
        outputs = llm.embed([f"the cat {number}" for number in range(200)], use_tqdm=False)
    for record, output in zip(records, outputs, strict=True):
        vector = np.array(record["response"]["body"]["data"][0]["embedding"], np.float32)
        assert np.allclose(vector, output.outputs.array, atol=1e-6)


def test_one_file_may_use_several_routes_and_errors_stay_in_their_places(run, tmp_path):
    lines = [request_line(0), "{broken", request_line(2, "/pooling", task="embed"), request_line(3, "/v1/nothing")]
    done = run(lines, "--served-model-name", "bert", "--progress")
    assert done.exit_code == 3
    assert re.search(
        r"^4 of 4 requests \(100%\), .* requests/s, 2 failed\n4 requests, 2 failed", done.stderr, re.MULTILINE
    )
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["response"] and record["response"]["status_code"] for record in records] == [200, None, 200, None]
    assert records[1]["error"]["line"] == 2
    assert "Available: " in records[3]["error"]["message"]


def test_a_missing_input_is_named(run, tmp_path):
    done = CliRunner().invoke(cli.app, ["run-batch", "-i", "no.jsonl", "-o", str(tmp_path / "out"), "-m", "m"])
    assert done.exit_code == 1
    assert "no.jsonl: no such file" in done.stderr


def test_the_output_may_be_a_device_or_pipe_but_not_the_input(run, model, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(request_line(0)) + "\n")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    options = ["-m", str(model), "--served-model-name", "bert"]
    done = CliRunner().invoke(cli.app, ["run-batch", "-i", str(source), "-o", str(pipe), *options])
    assert done.exit_code == 0, done.stderr
    reader.join()
    assert json.loads(received[0])["custom_id"] == "request-0"
    assert pipe.is_fifo()
    for output, message in (
        (source, "is also the input"),
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out", "does not exist"),
    ):
        done = CliRunner().invoke(cli.app, ["run-batch", "-i", str(source), "-o", str(output), *options])
        assert done.exit_code == 1
        assert message in done.stderr
    assert json.loads(source.read_text())["custom_id"] == "request-0"
