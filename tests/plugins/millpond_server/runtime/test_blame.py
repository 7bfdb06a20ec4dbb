"""A failing component of a plugin is named over HTTP, without a traceback, and affects no other request."""

import os

import pytest

from millpond.testing.checkpoints import tiny

PLUGIN = """
import asyncio

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec
from millpond_http.kinds import RouteSpec

SECRET = "/srv/secret/licence.txt"

def odd(ctx):
    from millpond.nn import Pooler
    import torch

    class Odd(Pooler):
        def pool(self, hidden_states, metadata):
            if 3 in metadata.lengths:
                raise ValueError(SECRET)
            rows = [own.mean(0) for own in hidden_states.split(list(metadata.lengths))]
            return torch.stack(rows) if 4 not in metadata.lengths else torch.stack(rows)[:, :12]

    return Odd(ctx)

@hookimpl
def register_poolers():
    yield PoolerSpec(name="ODD", target=f"{__name__}:odd", tasks=("embed",))

@hookimpl
def register_routes():
    yield RouteSpec(name="POST /odd/sync", target=f"{__name__}:sync")
    for name in ("raises", "exits", "interrupts", "cancels"):
        yield RouteSpec(name=f"POST /odd/{name}", target=f"{__name__}:{name}")

def sync(request, llm):
    return {"answer": 42}

async def raises(request, llm):
    raise ValueError(SECRET)

async def exits(request, llm):
    raise SystemExit(SECRET)

async def interrupts(request, llm):
    raise KeyboardInterrupt(SECRET)

async def cancels(request, llm):
    raise asyncio.CancelledError(SECRET)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, serving):
    """A server with the plugin "acme" and its pooler."""
    root = tmp_path_factory.mktemp("blame")
    folder = tiny("BertModel", root / "model")
    (root / "acme_plugin.py").write_text(PLUGIN, encoding="utf-8")
    info = root / "millpond_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: millpond-acme\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[millpond]\nacme = acme_plugin\n", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    arguments = (str(folder), "--routes", "acme", "--pooler-config", '{"pooling_type": "ODD"}', "--num-workers", "1")
    with serving(*arguments, env={"PYTHONPATH": path}) as running:
        yield running


def post(server, path, body):
    with server.client() as client:
        answer = client.post(path, json=body)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    return answer


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([5, 6, 7], "pooler 'ODD' of plugin acme failed on this request"),
        (
            [5, 6, 7, 8],
            (
                "pooler 'ODD' of plugin acme broke its contract: for the task 'embed' its result is an array [12]; "
                "expected [32], the size that the model declares for 'embed'"
            ),
        ),
    ],
)
def test_a_failing_pooler_is_named(server, ids, message):
    answer = post(server, "/v1/embeddings", {"input": ids})
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, message)
    assert post(server, "/v1/embeddings", {"input": [5, 6]}).status_code == 200


def test_a_handler_that_is_not_async_is_named(server):
    answer = post(server, "/odd/sync", {})
    message = "route 'POST /odd/sync' of plugin acme broke its contract: its target must be an async function"
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, message)
    assert any("'POST /odd/sync' of plugin acme" in line and "not an async function" in line for line in server.lines)


@pytest.mark.parametrize("name", ["raises", "exits", "interrupts", "cancels"])
def test_a_handler_that_fails_is_named(server, name):
    answer = post(server, f"/odd/{name}", {})
    message = f"route 'POST /odd/{name}' of plugin acme failed on this request"
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, message)
