"""Test the router of several models without Ray: the choice of the model, merged responses, limits of bodies."""

import asyncio
import json

import pytest

from millpond_ray.routing import BUDGET_FACTOR, RouterApplication

MAX_BODY_BYTES = 100
TIMEOUT_S = 60.0


class Method:
    """A method of a deployment's handle."""

    def __init__(self, function):
        self.remote = function


class Model:
    """A handle of a deployment that records its requests and answers them with its name."""

    def __init__(self, name, status=200):
        self.name, self.status, self.requests, self.limits_read = name, status, [], 0
        self.answer, self.max_body_bytes = Method(self._answer), Method(self._max_body_bytes)
        self.max_bytes, self.blocked, self.is_full = MAX_BODY_BYTES, None, asyncio.Event()

    async def _answer(self, scope, body):
        self.requests.append((scope, body))
        if len(self.requests) == BUDGET_FACTOR:
            self.is_full.set()
        if self.blocked is not None:
            await self.blocked.wait()
        content = json.dumps({"object": "list", "data": [self.name]}).encode()
        return self.status, [(b"content-length", str(len(content)).encode()), (b"x-model", self.name.encode())], content

    async def _max_body_bytes(self):
        self.limits_read += 1
        return self.max_bytes


@pytest.fixture
def models():
    return Model("first"), Model("second")


@pytest.fixture
def router(models):
    return RouterApplication([("first", "alias"), ("second",)], models)


def parts_of(body):
    """Return the messages of a body that arrives byte by byte, except that the first ten come at once."""
    parts = [body[:10], *(body[index : index + 1] for index in range(10, len(body)))]
    return [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]


async def send(router, path, body=b"", *, messages=None, root_path="", headers=()):
    """Return the status, headers and JSON of a response; None without one."""
    queue, sent = iter(messages if messages is not None else parts_of(body)), []

    async def receive():
        return next(queue)

    async def send_message(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": root_path + path, "root_path": root_path, "headers": headers}
    await router({**scope, "unknown to Ray": object()}, receive, send_message)
    if not sent:
        return None
    start, content = sent
    return start["status"], dict(start["headers"]), json.loads(content["body"])


def ask(router, path, body=b"", **more):
    return asyncio.run(send(router, path, body, **more))


@pytest.mark.parametrize(
    ("body", "chosen"),
    [
        (b'{"model": "first"}', 0),
        (b'{"model": "alias"}', 0),
        (b'{"model": "second"}', 1),
        (b'{"model": ""}', 0),
        (b'{"model": "unknown"}', 0),
        (b'{"model": ["second"]}', 0),
        (b'["second"]', 0),
        (b"{broken", 0),
        (b"[" * 90, 0),
        (b"", 0),
    ],
)
def test_field_model_chooses_and_the_default_model_gets_the_rest(router, models, body, chosen):
    assert ask(router, "/v1/embeddings", body)[2]["data"] == [models[chosen].name]
    ((scope, received),) = models[chosen].requests
    assert received == body
    assert not models[1 - chosen].requests
    assert "unknown to Ray" not in scope


def test_deeply_nested_body_is_left_to_the_default_model(router, models):
    models[0].max_bytes, body = 10**6, b"[" * 200_000
    messages = [{"type": "http.request", "body": body}]
    assert ask(router, "/v1/embeddings", messages=messages)[0] == 200
    assert models[0].requests[0][1] == body


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/infinity/models", "/jina/v1/models"])
def test_lists_of_models_are_merged(router, path):
    status, headers, body = ask(router, path, root_path="/prefix")
    assert (status, body) == (200, {"object": "list", "data": ["first", "second"]})
    assert headers[b"x-model"] == b"first"
    assert int(headers[b"content-length"]) == len(json.dumps(body, separators=(",", ":")))


def test_one_model_is_described_by_itself(router):
    assert ask(router, "/v1/models/second")[2]["data"] == ["second"]
    assert ask(router, "/v1/models/unknown")[2]["data"] == ["first"]
    assert ask(router, "/v1/models/health")[2]["data"] == ["first"]


def test_health_is_that_of_all_models(router, models):
    assert ask(router, "/health")[0] == ask(router, "/infinity/health")[0] == 200
    models[1].status = 503
    for path in ("/health", "/ready", "/ping", "/v1/models"):
        assert ask(router, path)[0] == 503, path


def test_large_body_is_refused_by_the_default_model_without_the_body(router, models):
    headers = [(b"content-type", b"application/json"), (b"content-length", b"5")]
    ask(router, "/v1/embeddings", b"a" * (MAX_BODY_BYTES + 1), headers=headers)
    ask(router, "/v1/embeddings", b"a" * MAX_BODY_BYTES, headers=headers)
    (refused, body), (accepted, whole) = models[0].requests
    assert dict(refused["headers"]) == {b"content-type": b"application/json", b"content-length": b"101"}
    assert (body, len(whole)) == (b"", MAX_BODY_BYTES)
    assert accepted["headers"] == headers
    assert models[0].limits_read == 1


def test_memory_of_all_bodies_is_limited_and_released(router, models):
    async def check():
        models[0].blocked = asyncio.Event()
        body = b"a" * MAX_BODY_BYTES
        waiting = [asyncio.ensure_future(send(router, "/embed", body)) for _ in range(BUDGET_FACTOR)]
        await models[0].is_full.wait()
        status, headers, refused = await send(router, "/embed", b"a")
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert refused["error"]["message"] == "too much is being sent at present"
        models[0].blocked.set()
        assert [response[0] for response in await asyncio.gather(*waiting)] == [200] * BUDGET_FACTOR
        assert (await send(router, "/embed", b"a"))[0] == 200

    asyncio.run(asyncio.wait_for(check(), TIMEOUT_S))


def test_body_of_a_disconnected_client_is_dropped(router, models):
    part = {"type": "http.request", "body": b"a" * MAX_BODY_BYTES, "more_body": True}
    for _ in range(BUDGET_FACTOR):
        assert ask(router, "/embed", messages=[part, {"type": "http.disconnect"}]) is None
    assert not models[0].requests
    assert ask(router, "/embed", b"a" * MAX_BODY_BYTES)[0] == 200, "the memory was released"
