"""Fields that other servers know and that would change a result here: refused by name, never dropped."""

from collections.abc import Mapping
from dataclasses import dataclass

from millpond_server.http.errors import ApiError, shown


@dataclass(frozen=True)
class Refused:
    """Why a field is refused.

    Attributes:
        reason: What is done instead, or what to send.
        unless: The values that ask for what happens anyway.
    """

    reason: str
    unless: tuple[object, ...] = ()


def check_refused(fields: Mapping[str, Refused], body: Mapping[str, object]) -> None:
    """Refuse a body with a field that would change the result, and has no meaning here.

    Args:
        fields: Those that are refused, by name.
        body: The body, without nulls.

    Raises:
        ApiError: 400, which names the field.
    """
    for name in fields.keys() & body.keys():
        value, refused = body[name], fields[name]
        if not any(type(value) is type(neutral) and value == neutral for neutral in refused.unless):
            message = f"{name}={shown(value)} is not supported: {refused.reason}"
            raise ApiError(400, message, parameter=name, reason="invalid")


# Names that classes and pipelines of sentence-transformers and transformers have for what is set otherwise here.
LENGTH = Refused("pass truncate_prompt_tokens, -1 for the model's maximum")
POOLING = Refused("it is set when the server is started: --pooler-config.pooling_type")
FLOATS = Refused("pass encoding_format or embedding_type", unless=("float", ["float"]))
# Of vectors, on every route that gives one an input.
OF_VECTORS: Mapping[str, Refused] = {
    "embedding_types": FLOATS,
    "encoding_type": FLOATS,
    "output_dtype": FLOATS,
    "return_multivector": Refused(
        "this route gives one vector an input; POST /pooling with task 'token_embed' gives one a token", unless=(False,)
    ),
    "late_chunking_params": Refused(
        "this route gives one vector an input; POST /pooling with task 'token_embed' takes it, and late_chunking=true "
        "here reads all inputs as one text"
    ),
    "media_io_kwargs": Refused("images are read in one way; mm_processor_kwargs bounds their size", unless=({},)),
    "truncate_dim": Refused("pass dimensions"),
    "normalize_embeddings": Refused("pass normalize"),
    "precision": Refused("pass encoding_format or embedding_type", unless=("float32",)),
    "max_length": LENGTH,
    "pooling": POOLING,
    "pooling_type": POOLING,
    "text_pair": Refused("an input is one text; POST /classify and /score read two together"),
    "images": Refused("images beside `input` are not read; POST /v2/embed reads images and texts", unless=([],)),
}
# Of classes, on every route that gives them.
OF_CLASSES: Mapping[str, Refused] = {
    "softmax": Refused("pass use_activation"),
    "activation": Refused("pass use_activation"),
    "function_to_apply": Refused("pass use_activation, or raw_scores"),
    "top_k": Refused("all classes are given"),
    "text_pair": Refused('put both texts of a pair into one input: {"text": ..., "text_pair": ...} or a list of two'),
    "parameters": Refused("fields stand beside the inputs, not inside of parameters", unless=({},)),
    "max_length": LENGTH,
    "media_io_kwargs": OF_VECTORS["media_io_kwargs"],
}
# Of vectors of tokens as text-embeddings-inference gives them: the bare hidden states.
OF_HIDDEN_STATES: Mapping[str, Refused] = {
    "normalize": Refused("vectors of tokens are the bare hidden states; POST /pooling normalises them", (False,)),
    "dimensions": Refused("vectors of tokens are the bare hidden states, whole"),
}
# Of pairs as text-embeddings-inference has them, where the documents are `texts`.
OF_TEI_RANKS: Mapping[str, Refused] = {
    "documents": Refused("`texts` is given as well: pass one of them"),
}
# Of pairs, on every route that gives scores.
OF_SCORES: Mapping[str, Refused] = {
    "max_doc_length": Refused("pass max_tokens_per_doc"),
    "max_query_length": Refused("pass max_tokens_per_query"),
    "relevant_spans": Refused("scores are of whole documents; POST /explain tells which tokens match", unless=(False,)),
    "truncation": LENGTH,
    "max_length": LENGTH,
    "top_k": Refused("pass top_n"),
    "return_embeddings": Refused("this route gives scores alone; POST /v1/embeddings gives vectors", unless=(False,)),
    "chat_template": Refused("start the server with --chat-template, which writes every pair"),
    "mm_processor_kwargs": Refused("images of scores are read in one way", unless=({},)),
    "media_io_kwargs": Refused("images are read in one way", unless=({},)),
}
