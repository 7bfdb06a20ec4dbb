"""The kind of routes: names with slashes, precedence, and the checks of records."""

import pytest

from millpond.plugin.registry import Entry, Origin
from millpond.testing.records import record_faults
from millpond_http.kinds import RouteSpec

ACME = Origin(plugin="acme", rank="installed")


async def respond(request, llm):
    return {}


def test_a_route_of_a_program_replaces_a_built_in_one(plugin_manager):
    routes = plugin_manager.registry[RouteSpec]
    assert routes.get("POST /v1/embeddings").qualified == "server/POST /v1/embeddings"
    plugin_manager.register(RouteSpec(name="POST /v1/embeddings", target=respond))
    assert routes.get("POST /v1/embeddings").load() is respond
    assert routes.get("server/POST /v1/embeddings").origin.rank == "builtin"


def test_a_valid_route_has_no_faults(plugin_manager):
    spec = RouteSpec(name="POST /v1/lengths", target=respond, summary="The lengths of texts.", tasks=("embed",))
    assert record_faults(plugin_manager.registry, Entry(spec=spec, origin=ACME)) == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (RouteSpec(name="/odd", target=respond, summary="odd"), "its name '/odd' has no method"),
        (RouteSpec(name="POST /odd", target=print, summary="odd"), "its target is not an async function"),
        (RouteSpec(name="POST /odd", target=respond, summary="odd", body=5), "body=5 has the wrong type"),
    ],
)
def test_faults_of_a_route_are_found(plugin_manager, spec, reason):
    faults = record_faults(plugin_manager.registry, Entry(spec=spec, origin=ACME))
    assert any(reason in fault.reason for fault in faults), faults
