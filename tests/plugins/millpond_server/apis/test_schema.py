"""All routes comply with the server's OpenAPI description: statuses, media types, and formats of responses.

Schemathesis generates valid and invalid requests from the description and compares the responses with it. The names of
the models, which it cannot know, are inserted. Half of the requests also get simple inputs without rarely supported
fields, so that they reach the handlers.
"""

import re
from importlib import import_module

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error

from millpond import AsyncLLM
from millpond.testing.checkpoints import tiny, write_sparse_encoder
from millpond_server.apis.catalogue import routes as rows

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
MODELS = {
    "embed": "BertModel",
    "classify": "BertForSequenceClassification",
    "sparse": "BertForMaskedLM",
    "tokens": "BertForTokenClassification",
}
PROMISES = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
QUICK = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
THOROUGH = settings(QUICK, max_examples=60, derandomize=False, print_blob=True)
# Aliases of a path have its handler and its type of body, so their responses to different bodies are already tested.
ALIAS = settings(THOROUGH, max_examples=10)
PLAIN = {
    "input": "the old mill",
    "texts": ["the old mill", "snow"],
    "query": "a mill",
    "queries": "a mill",
    "documents": ["the old mill", "snow"],
    "representations": [{"task": "embed"}, {"task": "token_embed", "embedding_types": ["int8"]}],
    "tokens": [5, 6],
}
RARELY_SUPPORTED_FIELDS = {
    "chat_template",
    "embedding_type",
    "late_chunking",
    "modality",
    "normalize",
    "normalized",
    "raw_scores",
    "dimensions",
    "images",
    "input_type",
    "messages",
    "output_dimension",
    "prompt_name",
    "task",
    "truncate_prompt_tokens",
}


def fields_of(row):
    module, _, name = row.request.partition(":")
    return frozenset(getattr(import_module(module), name).model_fields)


FIELDS = {row.name: fields_of(row) for row in rows() if row.request is not None}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """The OpenAPI description of a server with all routes, which responds to generated requests."""
    import asyncio

    from millpond.plugin.manager import PluginManager
    from millpond_server.runtime.models import Models, ServedModel
    from millpond_server.runtime.server import build_server
    from millpond_server.runtime.settings import Settings

    load_all_checks()
    plugins = PluginManager()
    served = []
    for name, architecture in MODELS.items():
        folder = tiny(architecture, tmp_path_factory.mktemp(name) / "model")
        if name == "sparse":
            write_sparse_encoder(folder)
        served.append(ServedModel(names=(name,), llm=AsyncLLM(str(folder), plugins=plugins)))
    settings = Settings(log_format="off", allowed_hosts=("*",), batch_dir=str(tmp_path_factory.mktemp("batches")))
    yield schemathesis.openapi.from_asgi(
        "/openapi.json", build_server(settings, Models(served), registry=plugins.registry).app
    )
    for model in served:
        asyncio.run(model.llm.close())


def paths_and_aliases():
    """Return one path of each route that is not about the server's health, and the other paths of these routes."""
    paths, aliases = {}, []
    for row in rows():
        if ".health:" not in row.target:
            label = row.name.replace("{id:path}", "{id}")
            if paths.setdefault((row.target, row.request), label) != label:
                aliases.append(label)
    return list(paths.values()), aliases


def operations(schema, labels=None):
    by_label = {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}
    return [by_label[label] for label in labels or by_label]


def keeps_its_promises(operation, how):
    """Send requests generated from the description of a route; return the statuses."""
    modes = list(GenerationMode) if operation.body else [GenerationMode.POSITIVE]
    return set().union(*(asked(operation, mode, how) for mode in modes))


def asked(operation, mode, how):
    answered = set()
    checks = [not_a_server_error, *(CHECKS.get_one(name) for name in PROMISES)]
    fields = FIELDS.get(operation.label, frozenset())

    @how
    @given(operation.as_strategy(generation_mode=mode), st.sampled_from(sorted(MODELS)), st.booleans())
    def ask(case, model, plain):
        if isinstance(case.body, dict) and isinstance(case.body.get("model", ""), str):
            case.body["model"] = model
        if isinstance(case.body, dict) and plain and mode is GenerationMode.POSITIVE:
            kept = {name: value for name, value in case.body.items() if name in fields - RARELY_SUPPORTED_FIELDS}
            case.body = {**kept, **{name: value for name, value in PLAIN.items() if name in fields}}
        answer = case.call()
        if answer.status_code == 424:  # text-embeddings-inference uses it for server errors too
            assert re.search(r"[Mm]odel is not|is not available for", answer.text), answer.text
        case.validate_response(answer, checks=checks)
        answered.add(answer.status_code)

    ask()
    return answered


@pytest.mark.slow
def test_routes_comply_with_their_description(schema):
    described = operations(schema, paths_and_aliases()[0])
    assert len(described) >= 25
    answered = {operation.label: keeps_its_promises(operation, QUICK) for operation in described}
    assert sum(200 in statuses for statuses in answered.values()) >= 20, answered


@pytest.mark.slow
def test_routes_keep_it_through_very_many_requests(schema):
    _, aliases = paths_and_aliases()
    for operation in operations(schema):
        keeps_its_promises(operation, ALIAS if operation.label in aliases else THOROUGH)
