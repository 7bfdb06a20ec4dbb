"""Random bodies never cause a server error on any route, and errors are JSON with a message.

Bodies are generated from the pydantic models of the requests, field by field, with valid and invalid values.
"""

import asyncio
import json
import re
import threading
import types
import typing
from functools import cache
from importlib import import_module

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from millpond import AsyncLLM
from millpond.testing.checkpoints import tiny
from millpond_server.apis.catalogue import routes as rows

# Warnings about fields without effect are expected.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROWS = [row for row in rows() if row.name.startswith("POST") and not row.public]  # /ping has no body
TYPED = [row for row in ROWS if row.request is not None]
QUICK = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
THOROUGH = settings(QUICK, max_examples=10_000, derandomize=False, print_blob=True)
MODELS = {"embed": "BertModel", "classify": "BertForSequenceClassification"}


# --- a server without a network --------------------------------------------------------------------------------------


class Server:
    """The application of a server, called on a separate event loop."""

    def __init__(self, app):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        transport = httpx2.ASGITransport(app=app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://millpond", timeout=60.0)

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def post(self, path, body, **headers):
        return self.run(self.client.post(path, content=body, headers={"content-type": "application/json", **headers}))

    def close(self):
        self.run(self.client.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """All routes, with tiny models with random weights that together support all tasks."""
    from millpond.plugin.manager import PluginManager
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Settings

    plugins = PluginManager()
    served = []
    for name, architecture in MODELS.items():
        folder = tiny(architecture, tmp_path_factory.mktemp(name) / "model")
        served.append(ServedModel(names=(name,), llm=AsyncLLM(str(folder), plugins=plugins)))
    settings = Settings(log_format="off", allowed_hosts=("*",))
    server = Server(build_server(settings, Models(served), registry=plugins.registry).app)
    yield server
    for model in served:
        server.run(model.llm.close())
    server.close()


# --- bodies -----------------------------------------------------------------------------------------------------------


def nested(depth):
    value = "a"
    for _ in range(depth):
        value = [value]
    return value


TEXT = st.one_of(
    st.sampled_from(["", " ", "the old mill", "the old mill by the pond " * 40, "\ud800", "\x00", "é", "[CLS]"]),
    st.text(max_size=40),
    st.text(st.characters(codec=None), max_size=40),  # lone surrogates too
)
NUMBER = st.one_of(
    st.integers(-2, 600),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 1e400, -0.0, float("nan"), 1e-320]),
    st.floats(),
)
IDS = st.one_of(st.lists(st.integers(0, 100), min_size=1, max_size=20), st.lists(NUMBER | st.booleans(), max_size=5))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
PART = st.fixed_dictionaries({}, optional={"type": st.sampled_from(["text", "image_url"]) | ANYTHING, "text": TEXT})
CONTENT = st.one_of(TEXT, st.lists(PART | ANYTHING, max_size=3), ANYTHING)
ROLE = st.sampled_from(["user", "user", "system", "document"])
MESSAGE = st.fixed_dictionaries({"role": ROLE | ANYTHING, "content": CONTENT})
OBJECT = st.fixed_dictionaries({}, optional={"text": CONTENT, "content": CONTENT, "title": ANYTHING})
ITEM = st.one_of(TEXT, TEXT, IDS, OBJECT, MESSAGE, ANYTHING)
DEEP = st.integers(2, 1100).map(nested)
INPUT = st.one_of(ITEM, st.lists(TEXT, max_size=5), st.lists(ITEM, max_size=5), st.lists(IDS, max_size=3), DEEP)
WORDS = st.sampled_from(["the old mill", "snow", "a bird by the pond", "Grüße", "a" * 300, "the pond " * 40])
PLAIN_IDS = st.lists(st.integers(5, 60), min_size=1, max_size=9)
PLAIN = st.one_of(
    WORDS, st.lists(WORDS, min_size=1, max_size=4), PLAIN_IDS, st.lists(PLAIN_IDS, min_size=1, max_size=3)
)
RARELY_TRUE = st.sampled_from([False] * 19 + [True])
ROW, TYPED_ROW, ASCII = st.sampled_from(ROWS), st.sampled_from(TYPED), st.booleans()
TASK = st.sampled_from(["embed", "token_embed", "classify", "plugin"]) | TEXT
MESSAGES = st.lists(MESSAGE, min_size=1, max_size=2)
NUM_REPLACED = st.sampled_from([0, 0, 0, 1, 1, 2, 5])
ANY_INPUT = st.none() | INPUT
# The fields of which a body must have one group, where its model requires none.
GROUPS = (
    ("input",),
    ("messages",),
    ("data",),
    ("texts",),
    ("inputs",),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
    ("text_1", "text_2"),
)


@cache  # hypothesis examines each new strategy
def fitting(annotation):
    """Mostly valid values of a type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return fitting(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(fitting(argument) for argument in arguments if argument is not type(None)))
    simple = {
        str: WORDS,
        bytes: WORDS,
        int: st.integers(1, 32),
        float: st.floats(0, 1),
        bool: st.booleans(),
        typing.Any: PLAIN,
    }
    return simple[annotation] if annotation in simple else draw_container(annotation, origin, arguments)


def draw_container(annotation, origin, arguments):
    """Values of a composite type."""
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (list, tuple):
        return st.lists(fitting(arguments[0]), min_size=1, max_size=4)
    if origin is dict:
        return st.dictionaries(TEXT, ANYTHING, max_size=3) | OBJECT
    assert issubclass(annotation, BaseModel), annotation
    return bodies(annotation)


@cache
def bodies(model, served=tuple(MODELS)):
    """Bodies of a request, with mostly valid values of its fields."""
    if issubclass(model, RootModel):
        return fitting(model.model_fields["root"].annotation)
    fields = model.model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    groups = [group for group in GROUPS if set(group) <= set(fields)]
    group = st.sampled_from(groups) if groups and not required else st.just(())
    name_of_field, model_name = st.sampled_from(sorted(fields)), st.sampled_from(served)
    more_names = st.lists(name_of_field, max_size=3, unique=True)

    @st.composite
    def body_of(draw):
        names = {*required, *draw(group), *draw(more_names)}
        body = {name: draw(fitting(fields[name].annotation)) for name in sorted(names)}
        if "task" in body:
            body["task"] = draw(TASK)
        if "messages" in body:
            body["messages"] = draw(MESSAGES)
        if "model" in fields:
            body["model"] = draw(model_name)
        for _ in range(draw(NUM_REPLACED)):
            body[draw(name_of_field)] = draw(ANY_INPUT)
        return body

    return body_of()


@st.composite
def requests(draw):
    """A route and the bytes to post to it."""
    row = draw(ROW)
    model = _model(row if row.request else draw(TYPED_ROW))  # some take the bodies of other routes
    served = ("classify",) if row.tasks == ("classify",) else tuple(MODELS)
    value = draw(ANYTHING if draw(RARELY_TRUE) else bodies(model, served))
    if isinstance(value, dict) and draw(RARELY_TRUE):
        value[draw(TEXT)] = draw(ANYTHING)
    return row, encoded(value, plain=draw(ASCII), cut=draw(RARELY_TRUE))


def encoded(value, *, plain, cut):
    """The bytes of a body, with surrogates escaped or not, and sometimes truncated."""
    body = json.dumps(value, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    return body[: len(body) // 2] if cut else body


def _model(row):
    module, _, name = row.request.partition(":")
    return getattr(import_module(module), name)


# --- what holds -------------------------------------------------------------------------------------------------------


def check(server, row, body):
    answer = server.post(row.name.removeprefix("POST "), body)
    assert answer.status_code < 500, (row.name, body, answer.text)
    if answer.status_code == 424:  # how text-embeddings-inference names faults of the server, and tasks that lack
        assert re.search(r"[Mm]odel is not|is not available for", answer.text), (row.name, body, answer.text)
    if answer.headers["content-type"] == "application/octet-stream":
        return answer.status_code
    content = orjson.loads(answer.content)
    if answer.status_code >= 400:
        error = content["error"]
        message = error if isinstance(error, str) else error["message"]
        assert message
        assert "Traceback" not in message
        if not isinstance(error, str):
            details = {message, "Not Found"} if answer.status_code == 404 else {message}  # the route is not mounted
            assert content["message"] == message
            assert content["detail"] in details
    return answer.status_code


def test_no_body_causes_a_server_error(server):
    """Enough bodies are valid and reach the handlers of many routes."""
    answered = set()

    @QUICK
    @given(requests())
    def post(request):
        row, body = request
        if check(server, row, body) == 200:
            answered.add(row.target)

    post()
    assert len(answered) >= 8, answered


@pytest.mark.slow
@THOROUGH
@given(requests())
def test_no_random_body_causes_a_server_error(server, request):
    check(server, *request)
