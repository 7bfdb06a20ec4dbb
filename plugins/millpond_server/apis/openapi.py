"""The server's description in OpenAPI 3.1, built from the records of its routes and their pydantic models."""

import inspect
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import millpond
from millpond.plugin.registry import Entry
from millpond.plugin.specs import RouteSpec
from millpond_server.apis.common.schemas import VectorOptions

VARIABLE = re.compile(r"\{(\w+)(?::\w+)?\}")
REFERENCE = "#/components/schemas/{model}"
JSON, BYTES = "application/json", "application/octet-stream"
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
TEI_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "error_type"],
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
}
TEI_OPENAI_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["message", "code", "type"],
    "properties": {
        "message": {"type": "string"},
        "code": {"type": "integer"},
        "type": {"type": "string"},
        **TEI_ERROR["properties"],
    },
}
ERRORS = {"Error": ERROR, "TeiError": TEI_ERROR, "TeiOpenAIError": TEI_OPENAI_ERROR, "InfinityError": ERROR}
# What routes answer beside 200: all of them, and those that read a body.
OF_TEI, OF_TEI_BODIES = (404, 424, 503), (400, 408, 413, 422, 504)
OF_ALL: Mapping[str, tuple[int, ...]] = {
    "Error": (404, 500, 503),
    "InfinityError": (500, 503),
    "TeiError": OF_TEI,
    "TeiOpenAIError": OF_TEI,
}
OF_BODIES: Mapping[str, tuple[int, ...]] = {
    "Error": (400, 408, 413, 504),
    "InfinityError": (400, 408, 413, 422, 504),
    "TeiError": OF_TEI_BODIES,
    "TeiOpenAIError": OF_TEI_BODIES,
}


def describe(entries: Sequence[Entry[RouteSpec]], *, guarded: bool, overload_status: int = 503) -> dict[str, Any]:
    """The description of the routes that are mounted.

    Args:
        entries: Their records.
        guarded: Whether they ask for a key.
        overload_status: The status of a request that comes when there are too many.
    """
    further = (overload_status, *((401,) if guarded else ()))
    requests = {e.spec.name: e.load("request") for e in entries if e.spec.request is not None}
    answers = {e.spec.name: e.load("response") for e in entries if e.spec.response is not None}
    wanted: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in _distinct(requests.values())]
    wanted += [(model, "serialization") for model in _distinct(answers.values())]
    schemas, definitions = models_json_schema(wanted, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        method, _, path = entry.spec.name.partition(" ")
        asked, given = requests.get(entry.spec.name), answers.get(entry.spec.name)
        operation = _operation(
            entry,
            further=further,
            asked=None if asked is None else schemas[asked, "validation"],
            given=None if given is None else schemas[given, "serialization"],
            gives_bytes=asked is not None and issubclass(asked, VectorOptions),
            guarded=guarded,
        )
        paths.setdefault(VARIABLE.sub(r"{\1}", path), {})[method.lower()] = operation
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Millpond", "version": millpond.__version__, "summary": "Pooling models over HTTP"},
        "paths": paths,
        "components": {"schemas": {**definitions.get("$defs", {}), **ERRORS}},
    }
    if guarded:
        schemes: dict[str, Any] = {"key": {"type": "http", "scheme": "bearer"}}
        for entry in entries:
            schemes |= dict(_key_places(entry.spec))
        described["components"]["securitySchemes"] = schemes
        described["security"] = [{"key": []}]
    return described


def _key_places(spec: RouteSpec) -> list[tuple[str, dict[str, Any]]]:
    """The further places where a route takes a key, as security schemes with their names."""
    places = [("header", name) for name in spec.key_headers] + [("query", name) for name in spec.key_query]
    return [(f"{place}_{name}", {"type": "apiKey", "in": place, "name": name}) for place, name in places]


def _operation(
    entry: Entry[RouteSpec], *, further: Sequence[int], asked: Any, given: Any, gives_bytes: bool, guarded: bool
) -> dict[str, Any]:
    spec = entry.spec
    method, _, path = spec.name.partition(" ")
    plain = VARIABLE.sub(r"_\1", path)
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{plain}").strip("_"),
        "summary": spec.summary,
        "description": inspect.getdoc(entry.load()) or spec.summary,
        "tags": [entry.origin.plugin, *spec.tasks],
        "responses": {
            "200": {"description": "The answer", **_content(given, gives_bytes=gives_bytes)},
            **_errors(entry, further),
        },
    }
    names = VARIABLE.findall(path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if asked is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": asked}}}
    elif spec.body != "json":
        operation["requestBody"] = {"content": {"*/*": {}}}
    if guarded and spec.public:
        operation["security"] = []
    elif guarded and (places := _key_places(spec)):
        operation["security"] = [{"key": []}, *({name: []} for name, _ in places)]
    return operation


def _content(schema: Any, *, gives_bytes: bool) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"content": {JSON: {"schema": schema}, **({BYTES: {}} if gives_bytes else {})}}


def _errors(entry: Entry[RouteSpec], further: Sequence[int]) -> dict[str, Any]:
    """The statuses of errors, each with the bodies that it may have; of others' routes it is not known which."""
    names: tuple[str, ...] = getattr(inspect.getmodule(entry.load()), "ERRORS", ("Error",))
    bodies: dict[int, list[str]] = {}
    for name in names:
        of_bodies = OF_BODIES[name] if entry.spec.name.startswith("POST") else ()
        for status in {*OF_ALL[name], *of_bodies, *further}:
            bodies.setdefault(status, []).append(name)
    said: dict[str, Any] = {
        str(status): {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": _one_of(models)}}}
        for status, models in sorted(bodies.items())
        if models
    }
    if entry.origin.rank == "installed":
        said["default"] = {"description": "What the plugin answers"}
    return said


def _one_of(models: Sequence[str]) -> dict[str, Any]:
    references = [{"$ref": REFERENCE.format(model=model)} for model in models]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _distinct(models: Any) -> list[type[BaseModel]]:
    return list(dict.fromkeys(models))
