"""The server's description in OpenAPI 3.1, built from the records of its routes and their pydantic models."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import millpond
from millpond.registry import Entry
from millpond.specs import RouteSpec
from millpond_server.endpoint import load_model

VARIABLE = re.compile(r"\{(\w+)(?::\w+)?\}")
REFERENCE = "#/components/schemas/{model}"
JSON = "application/json"
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "detail", "message"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "integer"},
            },
        },
        "detail": {"type": "string"},
        "message": {"type": "string"},
    },
}


def describe(entries: Sequence[Entry[RouteSpec]], *, guarded: bool) -> dict[str, Any]:
    """The description of the routes that are mounted.

    Args:
        entries: Their records.
        guarded: Whether they ask for a key.
    """
    requests = {e.spec.name: load_model(e, e.spec.request) for e in entries if e.spec.request is not None}
    answers = {e.spec.name: load_model(e, e.spec.response) for e in entries if e.spec.response is not None}
    wanted: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in _distinct(requests.values())]
    wanted += [(model, "serialization") for model in _distinct(answers.values())]
    schemas, definitions = models_json_schema(wanted, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        method, _, path = entry.spec.name.partition(" ")
        asked, given = requests.get(entry.spec.name), answers.get(entry.spec.name)
        operation = _operation(
            entry,
            asked=None if asked is None else schemas[asked, "validation"],
            given=None if given is None else schemas[given, "serialization"],
        )
        paths.setdefault(VARIABLE.sub(r"{\1}", path), {})[method.lower()] = operation
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Millpond", "version": millpond.__version__, "summary": "Pooling models over HTTP"},
        "paths": paths,
        "components": {"schemas": {**definitions.get("$defs", {}), "Error": ERROR}},
    }
    if guarded:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
    return described


def _operation(entry: Entry[RouteSpec], *, asked: Any, given: Any) -> dict[str, Any]:
    spec = entry.spec
    method, _, path = spec.name.partition(" ")
    plain = VARIABLE.sub(r"_\1", path)
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{plain}").strip("_"),
        "summary": spec.summary,
        "description": inspect.getdoc(entry.load()) or spec.summary,
        "tags": [entry.origin.plugin, *spec.tasks],
        "responses": {
            "200": {"description": "The answer", **({} if given is None else {"content": {JSON: {"schema": given}}})},
            "default": {
                "description": "What is wrong with the request, or with the server",
                "content": {JSON: {"schema": {"$ref": REFERENCE.format(model="Error")}}},
            },
        },
    }
    names = VARIABLE.findall(path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if asked is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": asked}}}
    return operation


def _distinct(models: Any) -> list[type[BaseModel]]:
    return list(dict.fromkeys(models))
