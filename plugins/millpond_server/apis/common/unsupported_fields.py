"""Fields of other servers that would change the result and are not supported: requests with them are refused."""

from collections.abc import Mapping
from dataclasses import dataclass

from millpond_server.http.errors import ApiError, short_repr


@dataclass(frozen=True)
class UnsupportedField:
    """A field that is refused.

    Attributes:
        reason: The reason, or the field to pass instead.
        allowed: The values that request the only supported behavior.
    """

    reason: str
    allowed: tuple[object, ...] = ()


def check_unsupported(fields: Mapping[str, UnsupportedField], body: Mapping[str, object]) -> None:
    """Refuse a body with an unsupported field.

    Args:
        fields: The unsupported fields, by name.
        body: The body, without nulls.

    Raises:
        ApiError: 400 with the name of the field.
    """
    for name in fields.keys() & body.keys():
        value, field = body[name], fields[name]
        if not any(type(value) is type(allowed) and value == allowed for allowed in field.allowed):
            message = f"{name}={short_repr(value)} is not supported: {field.reason}"
            raise ApiError(400, message, parameter=name, reason="invalid")


# Names of sentence-transformers and transformers for settings that have a different name here.
LENGTH = UnsupportedField("pass truncate_prompt_tokens, -1 for the model's maximum")
POOLING = UnsupportedField("it is set when the server is started: --pooler-config.pooling_type")
FLOATS = UnsupportedField("pass encoding_format or embedding_type", allowed=("float", ["float"]))
# Of routes that return one vector per input.
VECTOR_FIELDS: Mapping[str, UnsupportedField] = {
    "embedding_types": FLOATS,
    "encoding_type": FLOATS,
    "output_dtype": FLOATS,
    "return_multivector": UnsupportedField(
        "this route returns one vector per input; POST /pooling with task 'token_embed' returns one per token",
        allowed=(False,),
    ),
    "media_io_kwargs": UnsupportedField(
        "it has no effect on how images are read; mm_processor_kwargs bounds their size", allowed=({},)
    ),
    "truncate_dim": UnsupportedField("pass dimensions"),
    "normalize_embeddings": UnsupportedField("pass normalize"),
    "precision": UnsupportedField("pass encoding_format or embedding_type", allowed=("float32",)),
    "max_length": LENGTH,
    "pooling": POOLING,
    "pooling_type": POOLING,
    "text_pair": UnsupportedField("an input is one text; POST /classify and /score accept pairs"),
    "images": UnsupportedField("this route reads `input` only; POST /v2/embed reads images and texts", allowed=([],)),
}
# Of routes that return classes.
CLASS_FIELDS: Mapping[str, UnsupportedField] = {
    "softmax": UnsupportedField("pass use_activation"),
    "activation": UnsupportedField("pass use_activation"),
    "function_to_apply": UnsupportedField("pass use_activation, or raw_scores"),
    "top_k": UnsupportedField("all classes are returned"),
    "text_pair": UnsupportedField(
        'put both texts of a pair into one input: {"text": ..., "text_pair": ...} or a list of two'
    ),
    "parameters": UnsupportedField("pass its fields next to the inputs, not inside of parameters", allowed=({},)),
    "max_length": LENGTH,
    "media_io_kwargs": VECTOR_FIELDS["media_io_kwargs"],
}
# Of text-embeddings-inference's route for token vectors, which returns hidden states.
HIDDEN_STATE_FIELDS: Mapping[str, UnsupportedField] = {
    "normalize": UnsupportedField(
        "token vectors are the unchanged hidden states; POST /pooling normalizes them", (False,)
    ),
    "dimensions": UnsupportedField("token vectors are the unchanged hidden states"),
}
# Of text-embeddings-inference's rerank route, where the documents are `texts`.
TEI_RERANK_FIELDS: Mapping[str, UnsupportedField] = {
    "documents": UnsupportedField("`texts` is given as well: pass one of them"),
}
# Of routes that return scores.
SCORE_FIELDS: Mapping[str, UnsupportedField] = {
    "max_doc_length": UnsupportedField("pass max_tokens_per_doc"),
    "max_query_length": UnsupportedField("pass max_tokens_per_query"),
    "relevant_spans": UnsupportedField(
        "scores are for whole documents; POST /explain returns the matching tokens", allowed=(False,)
    ),
    "truncation": LENGTH,
    "max_length": LENGTH,
    "top_k": UnsupportedField("pass top_n"),
    "return_embeddings": UnsupportedField(
        "this route returns scores only; POST /v1/embeddings returns vectors", allowed=(False,)
    ),
    "chat_template": UnsupportedField("start the server with --chat-template, which applies to all pairs"),
    "mm_processor_kwargs": UnsupportedField("it has no effect on images in scores", allowed=({},)),
    "media_io_kwargs": UnsupportedField("it has no effect on how images are read", allowed=({},)),
}
