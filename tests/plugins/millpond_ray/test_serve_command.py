"""Test `millpond serve --ray`: the server's routes and keys on a cluster, until the command is stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from millpond import LLM

pytestmark = pytest.mark.slow
TIMEOUT_S = 300.0


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def post(url, key):
    request = urllib.request.Request(
        f"{url}/v1/embeddings",
        json.dumps({"input": "the cat", "model": "tiny"}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_model_that_cannot_be_loaded_is_reported_once(cluster, port, tmp_path):
    command = [sys.executable, "-m", "millpond", "serve", str(tmp_path / "missing"), "--port", str(port)]
    command += ["--ray", cluster, "--workers", "1", "--worker-cpus", "0.5", "--worker-gpus", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 1, done.stderr
    assert f"error: Ray Serve cannot run {tmp_path / 'missing'}: no source has the model" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_are_served_until_the_command_is_stopped(cluster, bert, port, tmp_path):
    command = [sys.executable, "-m", "millpond", "serve", str(bert), "--served-model-name", "tiny", "--port", str(port)]
    command += ["--api-key", "secret", "--ray", cluster, "--workers", "1", "--worker-cpus", "0.5", "--worker-gpus", "0"]
    log = tmp_path / "log"
    with log.open("w") as file:
        program = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while "Millpond listens on" not in log.read_text():
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}"
        assert f"Millpond listens on {url}" in log.read_text()
        status, body = post(url, "secret")
        assert status == 200, body
        assert post(url, "wrong")[0] == 401
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        assert second.returncode == 1
        assert "error: Ray Serve runs an application 'millpond' on this cluster: stop the other" in second.stderr
        assert post(url, "secret")[0] == 200
        with LLM(str(bert)) as llm:
            expected = llm.embed("the cat", output="array")[0]
        np.testing.assert_allclose(body["data"][0]["embedding"], expected, atol=1e-5)
        program.send_signal(signal.SIGTERM)
        assert program.wait(TIMEOUT_S) == 0, log.read_text()
    finally:
        program.kill()
        program.wait()
    with pytest.raises(urllib.error.URLError):
        post(url, "secret")
