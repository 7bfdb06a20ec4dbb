"""The OpenAPI 3.1 description of a server, built from the specs of its routes and their pydantic models."""

import inspect
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import millpond
from millpond.plugin.registry import Entry
from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.schemas import ITEMS_OF_TASKS, VectorOptions

PATH_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
SCHEMA_REFERENCE = "#/components/schemas/{model}"
JSON, BYTES, FORM = "application/json", "application/octet-stream", "multipart/form-data"
ERROR_FIELDS: dict[str, Any] = {
    "message": {"type": "string"},
    "type": {"type": "string"},
    "param": {"type": ["string", "null"]},
    "code": {"type": "integer"},
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "detail", "object", *ERROR_FIELDS],
    "properties": {
        "error": {"type": "object", "required": [*ERROR_FIELDS], "properties": ERROR_FIELDS},
        "detail": {"type": "string"},
        "object": {"type": "string", "const": "error"},
        **ERROR_FIELDS,
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
# Error statuses by error schema: those of all routes, and those of routes with a body.
TEI_STATUSES, TEI_BODY_STATUSES = (404, 424, 503), (400, 408, 409, 413, 422, 504)
STATUSES: Mapping[str, tuple[int, ...]] = {
    "Error": (404, 500, 503),
    "InfinityError": (500, 503),
    "TeiError": TEI_STATUSES,
    "TeiOpenAIError": TEI_STATUSES,
}
BODY_STATUSES: Mapping[str, tuple[int, ...]] = {
    "Error": (400, 408, 409, 413, 504),
    "InfinityError": (400, 408, 409, 413, 422, 504),
    "TeiError": TEI_BODY_STATUSES,
    "TeiOpenAIError": TEI_BODY_STATUSES,
}


def describe(
    entries: Sequence[Entry[RouteSpec]],
    *,
    needs_keys: bool,
    overload_status: int = 503,
    items: Mapping[str, type[BaseModel]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the OpenAPI description of the mounted routes.

    Args:
        entries: The registry entries of the routes.
        needs_keys: True if the server requires API keys.
        overload_status: The status of requests refused for overload.
        items: The type of the objects that a task reads, by the name of the task.
    """
    extra_statuses = (overload_status, *((401,) if needs_keys else ()))
    requests = {e.spec.name: e.load("request") for e in entries if e.spec.request is not None}
    responses = {e.spec.name: e.load("response") for e in entries if e.spec.response is not None}
    errors = {e.spec.name: e.load("error") for e in entries if e.spec.error is not None}
    read = _distinct([*requests.values(), *items.values()])
    models: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in read]
    models += [(model, "serialization") for model in _distinct([*responses.values(), *errors.values()])]
    schemas, definitions = models_json_schema(models, ref_template=SCHEMA_REFERENCE)
    _describe_items(definitions, {task: schemas[item, "validation"] for task, item in items.items()})
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        method, _, path = entry.spec.name.partition(" ")
        request, response, error = (
            models_by_route.get(entry.spec.name) for models_by_route in (requests, responses, errors)
        )
        operation = _operation(
            entry,
            extra_statuses=extra_statuses,
            request=None if request is None else schemas[request, "validation"],
            response=None if response is None else schemas[response, "serialization"],
            error=None if error is None else schemas[error, "serialization"],
            can_return_bytes=request is not None and issubclass(request, VectorOptions),
            needs_keys=needs_keys,
        )
        paths.setdefault(PATH_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = operation
    description: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Millpond", "version": millpond.__version__, "summary": "Pooling models over HTTP"},
        "paths": paths,
        "components": {"schemas": {**definitions.get("$defs", {}), **ERRORS}},
    }
    if needs_keys:
        schemes: dict[str, Any] = {"key": {"type": "http", "scheme": "bearer"}}
        for entry in entries:
            schemes |= dict(_security_schemes(entry.spec))
        description["components"]["securitySchemes"] = schemes
        description["security"] = [{"key": []}]
    return description


def _describe_items(definitions: Any, items: Mapping[str, Any]) -> None:
    """Add the types of objects that tasks read to the fields of requests that are marked with ``ITEMS_OF_TASKS``."""
    for definition in definitions.get("$defs", {}).values():
        for field in definition.get("properties", {}).values():
            if not field.pop(ITEMS_OF_TASKS, False) or not items:
                continue
            types = [{**it, "title": f"task {task}"} for task, it in items.items()]
            field["anyOf"] = [*types, {"type": "array", "items": {"anyOf": types}}, {}]


def _security_schemes(spec: RouteSpec) -> list[tuple[str, dict[str, Any]]]:
    """Return the security schemes of the headers and query fields in which a route accepts keys, with their names."""
    locations = [("header", name) for name in spec.key_headers] + [("query", name) for name in spec.key_query]
    return [(f"{location}_{name}", {"type": "apiKey", "in": location, "name": name}) for location, name in locations]


def _operation(
    entry: Entry[RouteSpec],
    *,
    extra_statuses: Sequence[int],
    request: Any,
    response: Any,
    error: Any,
    can_return_bytes: bool,
    needs_keys: bool,
) -> dict[str, Any]:
    spec = entry.spec
    method, _, path = spec.name.partition(" ")
    path_id = PATH_PARAMETER.sub(r"_\1", path)
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path_id}").strip("_"),
        "summary": spec.summary,
        "description": inspect.getdoc(entry.load()) or spec.summary,
        "tags": [entry.origin.plugin, *spec.tasks],
        "responses": {
            "200": {"description": "The response", **_content(response, can_return_bytes=can_return_bytes)},
            **_errors(entry, extra_statuses, error),
        },
    }
    names = PATH_PARAMETER.findall(path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if request is not None:
        media_type = FORM if spec.body == "upload" else JSON
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": request}}}
    elif spec.body != "json":
        operation["requestBody"] = {"content": {"*/*": {}}}
    if needs_keys and spec.public:
        operation["security"] = []
    elif needs_keys and (schemes := _security_schemes(spec)):
        operation["security"] = [{"key": []}, *({name: []} for name, _ in schemes)]
    return operation


def _content(schema: Any, *, can_return_bytes: bool) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"content": {JSON: {"schema": schema}, **({BYTES: {}} if can_return_bytes else {})}}


def _errors(entry: Entry[RouteSpec], extra_statuses: Sequence[int], error: Any) -> dict[str, Any]:
    """Return the error responses of a route by status; other errors of third-party plugins are `default`.

    Args:
        entry: The registry entry of the route.
        extra_statuses: The statuses that all routes have, in addition to those of an error schema.
        error: The schema of the route's own errors; None if its record names none.
    """
    module = inspect.getmodule(entry.load())
    names: tuple[str, ...] = getattr(module, "ERRORS", ("Error",))
    is_unknown = error is None and hasattr(module, "render_error") and not hasattr(module, "ERRORS")
    schemas: dict[int, list[str]] = {}
    for name in names:
        body_statuses = BODY_STATUSES[name] if entry.spec.name.startswith("POST") else ()
        for status in {*STATUSES[name], *body_statuses, *extra_statuses}:
            schemas.setdefault(status, []).append(name)
    responses: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            **({} if is_unknown else {"content": {JSON: {"schema": error or _any_of(models)}}}),
        }
        for status, models in sorted(schemas.items())
        if models
    }
    if entry.origin.rank == "installed":
        responses["default"] = {"description": "A response of the plugin"}
    return responses


def _any_of(models: Sequence[str]) -> dict[str, Any]:
    references = [{"$ref": SCHEMA_REFERENCE.format(model=model)} for model in models]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _distinct(models: Any) -> list[type[BaseModel]]:
    return list(dict.fromkeys(models))
