"""``/pooling`` with a task of a plugin that reads objects; OpenAPI describes them."""

import json

import pytest
from batch_client import records, request_line, start_batch, wait_for
from documents_task import RECORDS

from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond_server.testing import running_server

TEXT = "the mill by the pond"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    plugins = PluginManager()
    for record in RECORDS:
        plugins.register(record)
    folder = tiny("BertModel", tmp_path_factory.mktemp("tiny") / "model")
    with running_server(folder, plugins=plugins) as running:
        yield running


def ask(server, data, **fields):
    return server.request("POST", "/pooling", json={"task": "sketch", "data": data, **fields})


def test_an_object_or_a_list_is_served(server):
    one = ask(server, {"text": TEXT, "weight": 2})
    assert one.status == 200, one.text
    (result,) = one.json()["data"]
    assert (result["data"]["weight"], len(result["data"]["first"])) == (2.0, 4)
    both = ask(server, [{"text": "no"}, {"text": TEXT}]).json()["data"]
    assert both[1]["data"]["first"] == pytest.approx(result["data"]["first"], abs=1e-6)


def test_errors_name_the_field_of_the_item(server):
    refused = ask(server, [{"text": TEXT}, {"text": TEXT, "weight": -1}])
    assert refused.status == 400
    assert "weight=-1: Input should be greater than 0" in refused.json()["error"]["message"]


def test_the_options_of_texts_apply(server):
    whole, truncated = (ask(server, {"text": TEXT}, **fields).json() for fields in ({}, {"truncate_prompt_tokens": 3}))
    assert (whole["usage"]["prompt_tokens"], truncated["usage"]["prompt_tokens"]) == (7, 3)
    refused = ask(server, {"text": TEXT}, dimensions=4)
    assert refused.status == 400
    assert refused.json()["error"]["message"] == "dimensions is currently not supported"


def test_texts_are_refused_with_the_fields_of_the_task(server):
    refused = server.request("POST", "/pooling", json={"task": "sketch", "input": TEXT})
    assert refused.status == 400
    assert "reads objects with the fields text, title, weight" in refused.json()["error"]["message"]


def test_tasks_of_texts_take_no_data(server):
    refused = server.request("POST", "/pooling", json={"task": "embed", "data": {"text": TEXT}})
    assert refused.status == 400
    assert "only supported for the 'plugin' pooling task" in refused.json()["error"]["message"]


def test_openapi_describes_the_objects(server):
    schemas = server.request("GET", "/openapi.json").json()["components"]["schemas"]
    assert set(schemas["TitledText"]["properties"]) == {"text", "title", "weight"}
    types = schemas["PoolingRequest"]["properties"]["data"]["anyOf"]
    assert types[0] == {"$ref": "#/components/schemas/TitledText", "title": "task sketch"}
    assert "x-items-of-tasks" not in json.dumps(schemas)


def test_a_batch_has_the_results_of_live_requests(tmp_path):
    plugins = PluginManager()
    for record in RECORDS:
        plugins.register(record)
    bodies = [
        {"model": "model", "task": "sketch", "data": data} for data in ({"text": TEXT}, {"text": TEXT, "weight": 0})
    ]
    folder = tiny("BertModel", tmp_path / "model")
    with running_server(folder, plugins=plugins, settings={"batch_dir": str(tmp_path / "batches")}) as server:
        live = server.request("POST", "/pooling", json=bodies[0]).json()["data"]
        lines = [request_line(number, url="/pooling", body=body) for number, body in enumerate(bodies)]
        batch = wait_for(server, start_batch(server, lines, endpoint="/pooling"))
        (done,), (failed,) = (records(server, batch[name]) for name in ("output_file_id", "error_file_id"))
    assert done["response"]["body"]["data"] == live
    assert "weight=0: Input should be greater than 0" in json.dumps(failed)
