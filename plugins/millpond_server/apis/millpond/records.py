"""Routes that only Millpond has: its own tasks, health and metrics."""

from millpond.plugin.specs import RouteSpec
from millpond_server.apis.common.records import route

ROUTES: tuple[RouteSpec, ...] = (
    route(
        name="POST /entities",
        target="millpond.routes:entities",
        summary="the parts of texts that are something, such as names, with their characters",
        tasks=("entities",),
        request="millpond.schemas:EntitiesRequest",
        response="millpond.schemas:EntitiesResponse",
    ),
    route(
        name="POST /v1/represent",
        target="millpond.routes:represent",
        summary="several results of each text from one forward pass",
        tasks=("represent",),
        request="millpond.schemas:RepresentRequest",
        response="millpond.schemas:RepresentResponse",
    ),
    route(
        name="POST /explain",
        target="millpond.explain:explain",
        summary="which tokens of a document make its score, and which terms of the vocabulary weigh most",
        tasks=("token_embed", "embed_sparse"),
        request="millpond.schemas:ExplainRequest",
        response="millpond.schemas:ExplainResponse",
    ),
    route(name="GET /health", target="millpond.health:health", summary="whether its engines turn", public=True),
    route(name="GET /ping", target="millpond.health:health", summary="whether its engines turn", public=True),
    route(name="POST /ping", target="millpond.health:health", summary="whether its engines turn", public=True),
    route(name="GET /ready", target="millpond.health:ready", summary="whether it takes requests", public=True),
    route(name="GET /live", target="millpond.health:live", summary="whether the process answers", public=True),
    route(name="GET /load", target="millpond.health:load", summary="how busy it is"),
    route(name="GET /metrics", target="millpond.health:metrics", summary="what it measures, for Prometheus"),
    route(name="GET /version", target="millpond.health:version", summary="the version of Millpond"),
)
PREFIXED: tuple[RouteSpec, ...] = ()
