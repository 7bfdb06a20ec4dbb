"""Test Ray Serve: several models, an engine that hangs, autoscaling."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest

import millpond_ray
from millpond import LLM
from millpond.testing.checkpoints import tiny
from millpond.types.errors import MillpondError

pytestmark = pytest.mark.slow
TIMEOUT_S = 300.0
POLL_S = 0.1


@pytest.fixture(scope="module")
def serving(cluster):
    """Start Ray Serve on a free port of this machine; return its URL."""
    from ray import serve

    from millpond_ray.serving import start_proxies

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_proxies("127.0.0.1", port)
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture
def deploy(serving):
    """Return a function that runs an application and returns its URL; it is deleted at the end of the test."""
    from ray import serve

    names = []

    def start(name, *models, **options):
        names.append(name)
        serve.run(millpond_ray.deployment(*models, num_cpus=0.5, **options), name=name, route_prefix=f"/{name}")
        return f"{serving}/{name}"

    yield start
    for name in names:
        serve.delete(name)


def call(url, body=None, timeout=TIMEOUT_S):
    """Return the status and the JSON body of a response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def embed(url, **fields):
    status, body = call(f"{url}/v1/embeddings", {"input": "the cat", **fields})
    assert status == 200, body
    return np.array(body["data"][0]["embedding"], dtype=np.float32)


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def running_replicas(name):
    from ray import serve

    (status,) = serve.status().applications[name].deployments.values()
    return status.replica_states.get("RUNNING", 0)


def test_several_models_are_chosen_by_the_field_model(deploy, bert, tmp_path_factory):
    other = tiny("BertModel", tmp_path_factory.mktemp("other") / "bert", seed=1)
    url = deploy("several", {"first": str(bert), "second": str(other)})
    for name, folder in (("first", bert), ("second", other)):
        with LLM(str(folder)) as llm:
            expected = llm.embed("the cat", use_tqdm=False)[0].outputs.array
        np.testing.assert_allclose(embed(url, model=name), expected, atol=1e-6)
    np.testing.assert_array_equal(embed(url), embed(url, model="first"))
    assert [model["id"] for model in call(f"{url}/v1/models")[1]["data"]] == ["first", "second"]
    assert call(f"{url}/v1/models/second")[1]["id"] == "second"
    assert call(f"{url}/health")[0] == 200
    status, body = call(f"{url}/v1/embeddings", {"input": "the cat", "model": "third"})
    assert (status, body["error"]["param"]) == (404, "model")
    assert "This server has: first, second" in body["error"]["message"]


def test_configuration_file_of_serve_names_the_arguments_of_a_deployment(serving, bert):
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    args = {"models": {"tiny": str(bert)}, "num_cpus": 0.5, "settings": {"api_keys": ["secret"]}, "num_replicas": 1}
    application = {"name": "configured", "import_path": "millpond_ray:from_config", "route_prefix": "/configured"}
    config = ServeDeploySchema.model_validate({"applications": [{**application, "args": args}]})
    _get_global_client().deploy_apps(config)
    try:
        wait_until(lambda: serve.status().applications["configured"].status == "RUNNING")
        url = f"{serving}/configured/v1/models"
        assert call(url)[0] == 401
        request = urllib.request.Request(url, headers={"authorization": "Bearer secret"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            assert [model["id"] for model in json.loads(response.read())["data"]] == ["tiny"]
        assert call(f"{serving}/configured/health")[0] == 200
    finally:
        serve.delete("configured")


def test_replica_with_a_hanging_engine_is_replaced(deploy, bert, tmp_path, monkeypatch):
    from millpond_ray import serving as module

    marker, pids = tmp_path / "hang", tmp_path / "pids"
    pids.mkdir()
    original = module.ModelReplica

    class Hanging(original):
        """A replica whose engine hangs while a file exists. It writes its process to a folder."""

        def __init__(self, models):
            super().__init__(models)
            import os

            (pids / str(os.getpid())).touch()
            (served,) = self.application.models
            model = served.llm.engine.engine.runner.model
            forward = model.forward

            def forward_or_hang(*inputs, **more):
                if marker.exists():
                    threading.Event().wait()
                return forward(*inputs, **more)

            model.forward = forward_or_hang

    monkeypatch.setattr(module, "ModelReplica", Hanging)
    options = {"settings": {"limits": {"hang_seconds": 0.5}}, "health_check_period_s": 0.3}
    url = deploy("hanging", str(bert), **options)
    expected = embed(url)
    assert len(list(pids.iterdir())) == 1
    marker.touch()
    assert call(f"{url}/v1/embeddings", {"input": "a mat"})[0] >= 500
    marker.unlink()
    wait_until(lambda: len(list(pids.iterdir())) == 2)
    wait_until(lambda: running_replicas("hanging") == 1 and call(f"{url}/health")[0] == 200)
    np.testing.assert_array_equal(embed(url), expected)


def test_replicas_are_added_under_load_and_removed_after_it(deploy, bert):
    scaling = {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": millpond_ray.target_ongoing_requests(1000, tokens_per_request=500, seconds=0.5),
        "upscale_delay_s": 0.2,
        "downscale_delay_s": 0.5,
        "metrics_interval_s": 0.2,
        "look_back_period_s": 0.5,
    }
    url = deploy("scaling", str(bert), autoscaling_config=scaling)
    assert running_replicas("scaling") == 1
    ended = threading.Event()

    def load():
        while not ended.is_set():
            call(f"{url}/v1/embeddings", {"input": ["the cat " * 50] * 16})

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: running_replicas("scaling") == 2)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    wait_until(lambda: running_replicas("scaling") == 1)
    assert embed(url).shape == (32,)


def test_proxy_that_serve_replaces_is_awaited(needs_ray, monkeypatch):
    from ray import serve
    from ray.exceptions import ActorDiedError

    from millpond_ray import serving as module

    calls, statuses = [], ["STARTING", "UNHEALTHY", "HEALTHY"]

    def start(http_options):
        calls.append(http_options)
        if len(calls) == 1:
            raise ActorDiedError

    class Status:
        proxies = property(lambda self: {"node": statuses.pop(0)})

    monkeypatch.setattr(serve, "start", start)
    monkeypatch.setattr(serve, "status", Status)
    monkeypatch.setattr(module, "POLL_S", 0)
    module.start_proxies("127.0.0.1", 8000)
    assert calls == [{"host": "127.0.0.1", "port": 8000}] * 2
    assert not statuses


def test_serve_that_never_listens_is_reported(needs_ray, monkeypatch):
    from ray import serve

    from millpond_ray import serving as module

    monkeypatch.setattr(serve, "start", lambda http_options: None)
    monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(proxies={"node": "UNHEALTHY"}))
    monkeypatch.setattr(module, "PROXY_TIMEOUT_S", 0.0)
    with pytest.raises(MillpondError, match=r"does not listen on 127\.0\.0\.1:8000"):
        module.start_proxies("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("millpond.types.errors.ModelError: no model:\n  hub: y\n", "no model:\n  hub: y"),
        ("torch.OutOfMemoryError: no memory\n", "torch.OutOfMemoryError: no memory"),
        ("", "RuntimeError: Traceback\n  File x"),
    ],
    ids=["own", "foreign", "none"],
)
def test_message_of_serve_is_reduced_to_the_last_error(needs_ray, error, reason):
    from millpond_ray.serving import final_error

    assert final_error(f"The deployment failed. Error:\nRuntimeError: Traceback\n  File x\n{error}") == reason
    assert final_error("the replicas wait for 2 CPUs") == "the replicas wait for 2 CPUs"


def test_target_of_autoscaling_follows_from_speed_and_time(needs_ray):
    assert millpond_ray.target_ongoing_requests(40_000, tokens_per_request=200, seconds=0.5) == 100
    assert millpond_ray.target_ongoing_requests(100, tokens_per_request=500) == 1
