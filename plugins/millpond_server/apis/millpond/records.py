"""Route specs of Millpond's own API: tasks, health and metrics."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import route

ROUTES: tuple[RouteSpec, ...] = (
    route(
        name="POST /entities",
        target="millpond.routes:entities",
        summary="named entities in texts, with their positions",
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
        summary="the tokens and terms that make up the score of a document",
        tasks=("token_embed", "embed_sparse"),
        request="millpond.schemas:ExplainRequest",
        response="millpond.schemas:ExplainResponse",
    ),
    route(name="GET /health", target="millpond.health:health", summary="state of the engines", public=True),
    route(name="GET /ping", target="millpond.health:health", summary="state of the engines", public=True),
    route(name="POST /ping", target="millpond.health:health", summary="state of the engines", public=True),
    route(name="GET /ready", target="millpond.health:ready", summary="readiness for requests", public=True),
    route(name="GET /live", target="millpond.health:live", summary="liveness of the process", public=True),
    route(name="GET /load", target="millpond.health:load", summary="running and waiting requests"),
    route(name="GET /metrics", target="millpond.health:metrics", summary="metrics for Prometheus"),
    route(name="GET /version", target="millpond.health:version", summary="the version of Millpond"),
)
PREFIXED: tuple[RouteSpec, ...] = ()
