"""``millpond serve`` as a process: its output, its responses during shutdown, and its exit code."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx2
import pytest
from waiting import eventually

PATIENCE = 60
MINILM = "all-MiniLM-L6-v2"
PLUGIN = """
import os, time
from dataclasses import replace
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, TextInput
from millpond_http.kinds import RouteSpec

@hookimpl
def register_architectures():
    target = f"{__name__}:Bert"
    text = TextInput(positions="absolute")
    yield ArchitectureSpec(name="BertModel", target=target, tasks=("embed", "token_embed"), text=text)

@hookimpl
def register_routes():
    yield RouteSpec(name="POST /v1/hello", target=f"{__name__}:hello", tasks=("embed",))

async def hello(request, llm, call):
    (output,) = await llm.embed(request["text"])
    return {"id": call.id("hello"), "tokens": output.num_prompt_tokens}

def __getattr__(name):
    if name != "Bert":
        raise AttributeError(name)
    from millpond_models.encoders.bert.model import BertModel
    from millpond.plugin.blame import blamed

    class Bert(BertModel):
        def forward(self, batch):
            if batch.num_tokens == 5:
                blamed.__exit__ = lambda *_: None  # the error is one of the engine
                raise KeyboardInterrupt
            if batch.num_tokens % 10 == 9:
                time.sleep(float(os.environ.get("NAP", "1")))
            return super().forward(batch)

    return Bert
"""
SLOW = {"input": " ".join(["boat"] * 7)}  # 9 tokens
DEADLY = {"input": "a boat sea"}  # 5 tokens


@pytest.fixture
def napping(folder, install_plugin, serving):
    """Serve a tiny model whose forward pass can be slow or crash its engine."""
    path = str(install_plugin(PLUGIN, "napping"))

    def serve(*arguments, env=None):
        return serving(folder, "--served-model-name", "tiny", *arguments, env={"PYTHONPATH": path, **(env or {})})

    return serve


def embed(running, body, **more):
    with running.client() as client:
        return client.post("/v1/embeddings", json=body, **more)


def load(running):
    with running.client() as client:
        return client.get("/load").json()["server_load"]


# --- start ------------------------------------------------------------------------------------------------------------


def test_the_overview_is_on_stderr_and_the_address_on_stdout(minilm_server):
    output = "".join(minilm_server.lines)
    row = next(line for line in minilm_server.lines if line.startswith(f"  {MINILM}  "))
    assert re.search(r"embed, token_embed.*  cpu  +float32  .*attention\.\w+.*  256  +[\d,]+", row)
    assert "API key  none: any client that can connect is served" in output
    assert f"{minilm_server.address}/v1/embeddings" in output


HELP = """
import sys
from millpond_command.cli import app
try:
    app(["serve", "--help"])
except SystemExit:
    print({"torch", "pydantic", "starlette", "numpy"} & set(sys.modules))
"""


def test_help_loads_neither_torch_nor_pydantic():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert "--max-queue-wait" in done.stdout
    assert done.stdout.endswith("set()\n"), done.stdout[-200:]


@pytest.mark.slow
def test_an_address_in_use_is_reported_before_the_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "millpond", "serve", MINILM, "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, "")
    port = command[-1]
    assert (
        f"error: port {port} of 127.0.0.1 is in use: another program listens on it\nhint: pass --port N" in done.stderr
    )


@pytest.mark.slow
def test_a_unix_socket_and_two_models(folder, serving, tmp_path):
    path = tmp_path / "server.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    arguments = ("--served-model-name", "one", "two", "--uds", str(path), "--api-key", "k", "--log-format", "json")
    with serving(folder, folder, *arguments, port=()) as running:
        assert running.address == f"unix:{path}"
        headers = {"authorization": "Bearer k"}
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://server") as client:
            names = [card["id"] for card in client.get("/v1/models", headers=headers).json()["data"]]
            assert names == ["one", "two"]
            for name in names:
                body = client.post("/v1/embeddings", json={"input": "a boat", "model": name}, headers=headers).json()
                assert body["model"] == name
    assert running.process.returncode == 0
    assert not path.exists()
    assert sum('"event":"request"' in line for line in running.lines) == 3


# --- routes of plugins ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_selected_plugin_routes_are_mounted_and_an_engine_crash_exits_with_70(napping):
    with napping("--routes", "napping") as running:
        with running.client() as client:
            body = client.post("/v1/hello", json={"text": "a cat"}, headers={"x-request-id": "it"}).json()
            assert body == {"id": "hello-it", "tokens": 4}
            assert "/v1/hello" in client.get("/openapi.json").json()["paths"]
        assert embed(running, DEADLY).status_code == 503
        began = time.monotonic()
        assert running.process.wait(PATIENCE) == 70
        assert time.monotonic() - began < 20
    assert any("crashed with KeyboardInterrupt" in line for line in running.lines)


def test_a_selected_plugin_without_routes_is_an_error(registry):
    from millpond_server.runtime.application import mounted
    from millpond_server.runtime.settings import Settings

    with pytest.raises(
        ValueError, match=r"--routes nobody: unknown plugin, or it provides no routes\. Available: .*server"
    ):
        next(mounted(registry, None, Settings(routes=("nobody",))))


# --- end --------------------------------------------------------------------------------------------------------------


def test_sigterm_finishes_running_requests_and_exits_with_0(napping):
    with napping("--drain-delay", "1.0") as running, concurrent.futures.ThreadPoolExecutor() as pool:
        with running.client() as client:
            assert client.get("/ready").status_code == 200
            slow = pool.submit(embed, running, SLOW)
            eventually(lambda: load(running) == 1, slow)
            running.process.send_signal(signal.SIGTERM)
            eventually(lambda: client.get("/ready").status_code == 503)
            late = client.post("/v1/embeddings", json={"input": "a boat"})  # within the delay it is served
            assert (late.status_code, late.headers["connection"]) == (200, "close")
            assert client.get("/health").status_code == 200
        assert slow.result().status_code == 200
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_unfinished_requests_are_answered_with_503(napping):
    with (
        napping("--drain-timeout", "0.5", env={"NAP": "8"}) as running,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        slow = pool.submit(embed, running, SLOW)
        eventually(lambda: load(running) == 1, slow)
        running.process.send_signal(signal.SIGTERM)
        assert slow.result().status_code == 503
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(napping):
    with napping(env={"NAP": "30"}) as running, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(embed, running, SLOW)
        eventually(lambda: load(running) == 1, slow)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 10
        assert slow.result().status_code == 503


@pytest.mark.slow
def test_ctrl_c_finishes_running_requests_and_exits_with_130(napping):
    with napping() as running, concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(embed, running, SLOW)
        eventually(lambda: load(running) == 1, slow)
        running.process.send_signal(signal.SIGINT)
        assert slow.result().status_code == 200
        assert running.process.wait(PATIENCE) == 130


@pytest.mark.slow
def test_sigterm_under_load_loses_no_request_that_was_accepted(napping):
    outcomes, lost = [], []

    def hammer(running):
        while True:
            try:
                with running.client() as client:
                    for number in range(50):
                        answered = client.post("/v1/embeddings", json={"input": ["the sea"] * (number % 3 + 1)})
                        outcomes.append(answered.status_code)
            except httpx2.ConnectError:
                return  # it listens no more
            except httpx2.HTTPError as error:
                lost.append(repr(error))

    with napping("--drain-delay", "0.5") as running, concurrent.futures.ThreadPoolExecutor(16) as pool:
        hammers = [pool.submit(hammer, running) for _ in range(16)]
        eventually(lambda: len(outcomes) > 200, *hammers)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
        for one in hammers:
            one.result()
    assert set(outcomes) == {200}
    assert lost == []


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_affects_its_successor(folder, serving, tmp_path):
    path = tmp_path / "server.sock"
    for _ in range(2):
        with serving(folder, "--uds", str(path), port=()) as running:
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait(PATIENCE)
    assert path.exists()
