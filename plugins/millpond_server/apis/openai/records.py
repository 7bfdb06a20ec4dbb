"""Route specs of OpenAI's API."""

from millpond_http.kinds import RouteSpec
from millpond_server.apis.common.records import route

EMBEDDINGS = route(
    name="POST /v1/embeddings",
    target="openai.routes:embeddings",
    summary="one vector per input, like OpenAI; one per token for models that embed with token_embed",
    tasks=("embed", "token_embed"),
    request="openai.schemas:EmbeddingRequest",
    response="openai.schemas:EmbeddingResponse",
)
MODELS = route(
    name="GET /v1/models",
    target="openai.routes:list_models",
    summary="the models of this server",
    response="openai.schemas:ModelList",
)

ROUTES: tuple[RouteSpec, ...] = (
    EMBEDDINGS,
    MODELS,
    route(
        name="GET /v1/models/{id:path}",
        target="openai.routes:show_model",
        summary="one model of this server",
        response="openai.schemas:ModelCard",
    ),
    route(
        name="POST /v1/files",
        target="openai.batches:upload_file",
        summary="upload a file of requests",
        request="openai.batch_schemas:FileUpload",
        response="openai.batch_schemas:FileObject",
        body="upload",
        model_field=None,
    ),
    route(
        name="GET /v1/files",
        target="openai.batches:list_files",
        summary="the files of the API key",
        response="openai.batch_schemas:FileList",
        model_field=None,
    ),
    route(
        name="GET /v1/files/{id}",
        target="openai.batches:show_file",
        summary="the description of a file",
        response="openai.batch_schemas:FileObject",
        model_field=None,
    ),
    route(
        name="GET /v1/files/{id}/content",
        target="openai.batches:file_content",
        summary="the content of a file",
        model_field=None,
    ),
    route(
        name="DELETE /v1/files/{id}",
        target="openai.batches:delete_file",
        summary="delete a file",
        response="openai.batch_schemas:FileDeleted",
        model_field=None,
    ),
    route(
        name="POST /v1/batches",
        target="openai.batches:create_batch",
        summary="run the requests of a file in the background",
        request="openai.batch_schemas:BatchRequest",
        response="openai.batch_schemas:BatchObject",
        model_field=None,
    ),
    route(
        name="GET /v1/batches",
        target="openai.batches:list_batches",
        summary="the batches of the API key",
        response="openai.batch_schemas:BatchList",
        model_field=None,
    ),
    route(
        name="GET /v1/batches/{id}",
        target="openai.batches:show_batch",
        summary="the state of a batch",
        response="openai.batch_schemas:BatchObject",
        model_field=None,
    ),
    route(
        name="POST /v1/batches/{id}/cancel",
        target="openai.batches:cancel_batch",
        summary="cancel a batch",
        response="openai.batch_schemas:BatchObject",
        model_field=None,
    ),
)
PREFIXED: tuple[RouteSpec, ...] = ()
