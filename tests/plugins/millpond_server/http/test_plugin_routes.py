"""Routes of third-party plugins: bodies of any type, their own keys, models and errors, and streamed responses."""

import http.client
import socket
import sys
from types import ModuleType

import pytest

from millpond.plugin.manager import PluginManager
from millpond_http.kinds import RouteSpec
from millpond_server.testing import running_server

PLUGIN = '''
"""A plugin with routes of many kinds."""

import threading

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

from millpond.types.errors import InvalidInputError
from millpond.plugin.hookspecs import hookimpl
from millpond_http.kinds import RouteSpec

gone = threading.Event()
begun = threading.Event()


async def sizes(body, llm, call):
    return {"bytes": len(body), "type": call.headers["content-type"]}


async def parts(request, llm):
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
    return {"bytes": count, "boundary": request.headers["content-type"].partition("boundary=")[2]}


async def named(request, llm, call):
    served = call.use_model(call.path_values["model"])
    vectors = await served.llm.embed(request["text"])
    return {"model": served.name, "dimensions": vectors[0].outputs.hidden_size, "query": call.query}


async def lines(request, llm):
    async def each():
        for place in range(3):
            yield f"line {place}\\n"
    return StreamingResponse(each(), media_type="text/plain")


async def breaks(request, llm, call):
    async def each():
        if call.query["at"] == "once":
            raise InvalidInputError("nothing to send")
        yield "begun"
        raise RuntimeError("secret")
    return StreamingResponse(each())


async def no_file(request, llm):
    return FileResponse("/no/such/file")


async def fails(request, llm):
    if request == {"how": "input"}:
        raise InvalidInputError("this text cannot be served")
    if request == {"how": "status"}:
        raise HTTPException(418, "a teapot", headers={"x-teapot": "yes"})
    raise RuntimeError("secret")


def render_error(error):
    return JSONResponse({"oops": error.message, "kind": error.kind}, status_code=error.status, headers=error.headers)


class Oops(BaseModel):
    oops: str


async def open_to_all(request, llm):
    return PlainTextResponse("open")


async def reads_slowly(request, llm):
    begun.set()
    try:
        await request.body()
    finally:
        gone.set()


HERE = __name__


@hookimpl
def register_routes():
    yield RouteSpec(name="PUT /sizes", target=f"{HERE}:sizes", body="bytes")
    yield RouteSpec(name="POST /parts", target=f"{HERE}:parts", body="request")
    yield RouteSpec(name="POST /models/{model}:embed", target=f"{HERE}:named", model_field=None, tasks=("embed",),
                    key_headers=("x-goog-api-key",), key_query=("key",))
    yield RouteSpec(name="GET /lines", target=f"{HERE}:lines")
    yield RouteSpec(name="GET /breaks", target=f"{HERE}:breaks")
    yield RouteSpec(name="GET /file", target=f"{HERE}:no_file")
    yield RouteSpec(name="POST /fails", target=f"{HERE}:fails")
    yield RouteSpec(name="POST /described", target=f"{HERE}:fails", error=f"{HERE}:Oops")
    yield RouteSpec(name="GET /open", target=f"{HERE}:open_to_all", public=True)
    yield RouteSpec(name="POST /slow", target=f"{HERE}:reads_slowly", body="request")
'''


@pytest.fixture(scope="module")
def plugin():
    module = ModuleType("plugin_with_routes")
    sys.modules[module.__name__] = module
    exec(PLUGIN, module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def plugins(plugin):
    manager = PluginManager()
    manager.register_plugin(plugin, "many")
    return manager


@pytest.fixture(scope="module")
def server(plugins, folder):
    with running_server(folder, plugins=plugins, settings={"limits": {"body_bytes": 4096}}) as running:
        yield running


def test_a_body_of_any_type_reaches_the_handler_as_bytes(server):
    answer = server.request("PUT", "/sizes", content=b"\x89PNG", headers={"content-type": "image/png"})
    assert (answer.status, answer.json()) == (200, {"bytes": 4, "type": "image/png"})


def test_a_handler_may_read_the_request_by_itself(server):
    body = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (body, iter([body[:5], body[5:]])):
        answer = server.request("POST", "/parts", content=content, headers=headers)
        assert (answer.status, answer.json()) == (200, {"bytes": len(body), "boundary": "x"})


@pytest.mark.parametrize(("method", "path"), [("PUT", "/sizes"), ("POST", "/parts")])
def test_bodies_of_any_type_are_held_to_the_limit(server, method, path):
    headers = {"content-type": "image/png"}
    for content in (bytes(4097), iter([bytes(2000)] * 3)):
        answer = server.request(method, path, content=content, headers=headers)
        assert (answer.status, answer.json()["oops"]) == (413, "the body is over the limit of 4096 bytes")
    assert server.request(method, path, content=bytes(4096), headers=headers).status == 200


def test_a_handler_may_name_the_model(server):
    answer = server.request("POST", "/models/bert:embed?a=1&b=%20", json={"text": "tea", "model": 3})
    assert answer.json() == {"model": "bert", "dimensions": 32, "query": {"a": "1", "b": " "}}
    answer = server.request("POST", "/models/none:embed", json={"text": "tea"})
    assert answer.status == 404
    assert "`none` does not exist" in answer.text


def test_responses_may_be_streamed(server):
    answer = server.request("GET", "/lines")
    assert (answer.status, answer.text) == (200, "line 0\nline 1\nline 2\n")
    assert answer.headers["x-request-id"]


def test_a_stream_that_fails_is_cut_and_one_line_names_its_route(server, caplog):
    with pytest.raises(http.client.IncompleteRead):
        server.request("GET", "/breaks?at=later")
    (record,) = [record for record in caplog.records if "after the start of its response" in record.message]
    assert "'GET /breaks' of plugin many" in record.message
    assert server.request("GET", "/lines").status == 200


def test_a_stream_that_fails_before_its_start_is_an_error_response(server):
    answer = server.request("GET", "/file")
    assert (answer.status, "oops" in answer.json()) == (500, True)


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("input", 400, "this text cannot be served"),
        ("status", 418, "a teapot"),
        ("other", 500, "route 'POST /fails' of plugin many failed on this request"),
    ],
)
def test_a_module_renders_the_errors_of_its_routes(server, how, status, message):
    answer = server.request("POST", "/fails", json={"how": how})
    assert answer.status == status
    assert answer.json()["oops"] == message
    assert (answer.headers.get("x-teapot") == "yes") == (status == 418)


def test_the_description_has_the_errors_of_each_route(server):
    description = server.request("GET", "/openapi.json").json()
    errors = {
        path: description["paths"][path]["post"]["responses"]["400"].get("content") for path in ("/fails", "/described")
    }
    schema = {"$ref": "#/components/schemas/Oops"}
    assert errors == {"/fails": None, "/described": {"application/json": {"schema": schema}}}
    assert list(description["components"]["schemas"]["Oops"]["properties"]) == ["oops"]


def test_keys_of_a_route_may_be_in_its_own_header_or_query(plugins, folder, caplog):
    path, body = "/models/bert:embed", {"text": "tea"}
    with running_server(folder, plugins=plugins, api_keys=("right",)) as server:
        ask = server.request
        assert ask("POST", path, json=body, headers={"x-goog-api-key": "right"}).status == 200
        assert ask("POST", path, json=body, headers={"x-api-key": "right"}).status == 200
        assert ask("POST", f"{path}?key=right", json=body).status == 200
        assert ask("POST", path, json=body, headers={"x-goog-api-key": "wrong"}).status == 401
        assert ask("POST", f"{path}?key=wrong&token=right", json=body).status == 401
        assert ask("GET", "/lines?key=right", headers={"x-goog-api-key": "right"}).status == 401
        assert ask("GET", "/open").text == "open"
        refused = ask("POST", "/fails", json={})
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json()["kind"] == "AuthenticationError"
        described = ask("GET", "/openapi.json", headers={"x-api-key": "right"}).json()
    assert described["paths"]["/open"]["get"]["security"] == []
    assert {"header_x-goog-api-key": []} in described["paths"]["/models/{model}:embed"]["post"]["security"]
    assert "the route GET /open of the plugin many needs no API key" in caplog.text


def test_a_public_route_with_parameters_does_not_open_others(plugins, folder):
    async def name(_, __, call):
        return call.path_values["name"]

    for path, public in (("/files/{name:path}", True), ("/files/secret", False), ("/other/{name}", False)):
        plugins.register(RouteSpec(name=f"GET {path}", target=name if "{" in path else fixed, public=public))
    with running_server(folder, plugins=plugins, api_keys=("right",)) as server:
        assert server.request("GET", "/files/a/b").json() == "a/b"
        for path in ("/files/secret", "/other/a", "/files", "/v1/models"):
            assert server.request("GET", path).status == 401, path
            assert server.request("HEAD", path).status == 401, path
        assert server.request("POST", "/files/a", json={}).status == 401
        assert server.request("GET", "/files/secret", headers={"x-api-key": "right"}).json() == "fixed"


async def fixed(_, __):
    return "fixed"


def test_a_handler_that_reads_is_cancelled_when_its_client_disconnects(server, plugin):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n123")
        assert plugin.begun.wait(30)
    assert plugin.gone.wait(30)


def test_a_body_that_no_handler_knows_is_refused_at_the_start(folder):
    from millpond_http.kinds import RouteSpec

    async def handler(request, llm):
        """Never called."""

    manager = PluginManager()
    manager.register(RouteSpec(name="POST /x", target=handler, body="form"))
    with (
        pytest.raises(ValueError, match="body='form': expected one of json, bytes, request"),
        running_server(folder, plugins=manager),
    ):
        pass
