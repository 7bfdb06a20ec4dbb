"""All built-in routes: those of each API, at the root and under a prefix.

APIs that define the same path differently are available under their prefixes.
"""

from collections.abc import Iterator

from millpond_http.kinds import RouteSpec
from millpond_server.apis.cohere import records as cohere
from millpond_server.apis.common.records import variant
from millpond_server.apis.infinity import records as infinity
from millpond_server.apis.jina import records as jina
from millpond_server.apis.millpond import records as millpond
from millpond_server.apis.openai import records as openai
from millpond_server.apis.tei import records as tei
from millpond_server.apis.vllm import records as vllm

APIS = {
    "openai": openai,
    "vllm": vllm,
    "cohere": cohere,
    "jina": jina,
    "infinity": infinity,
    "tei": tei,
    "millpond": millpond,
}


def routes() -> Iterator[RouteSpec]:
    """Yield the specs of all routes."""
    for prefix, api in APIS.items():
        yield from api.ROUTES
        for spec in api.PREFIXED:
            method, _, path = spec.name.partition(" ")
            yield variant(spec, name=f"{method} /{prefix}{path}")
