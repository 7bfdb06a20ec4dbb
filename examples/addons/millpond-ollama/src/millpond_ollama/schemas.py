"""Requests and responses of Ollama's routes.

Fields that are not declared, such as ``keep_alive``, have no effect; the server lists them in the header
``x-millpond-ignored``.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field


class ModelOptions(BaseModel):
    """The options of a model; those for generated text have no effect.

    Attributes:
        num_ctx: The maximum number of tokens of a text (default: the maximum of the model).
    """

    num_ctx: Annotated[int, Field(ge=1)] | None = None


class TextOptions(BaseModel):
    """Fields of all requests that compute.

    Attributes:
        model: The name of the model, with or without a tag.
        truncate: True to truncate texts that are too long; otherwise they are refused.
        options: The options of the model.
    """

    model: str = ""
    truncate: bool = True
    options: ModelOptions = ModelOptions()

    def truncation(self, max_model_len: int) -> dict[str, int]:
        """Return the keyword arguments of ``AsyncLLM`` that truncate texts.

        Args:
            max_model_len: The maximum number of tokens of the model.
        """
        if not self.truncate:
            return {}
        return {"truncate_prompt_tokens": min(self.options.num_ctx or max_model_len, max_model_len)}


class EmbedRequest(TextOptions):
    """Texts to embed.

    Attributes:
        input: A text, or a list of texts.
        dimensions: The number of dimensions to keep; all if it is 0, or larger than the vectors.
    """

    input: str | list[str] = []
    dimensions: int = 0

    @property
    def texts(self) -> list[str]:
        """The texts; an empty text that is not in a list counts as no text."""
        if isinstance(self.input, list):
            return self.input
        return [self.input] if self.input else []


class Durations(BaseModel):
    """Durations in nanoseconds, and the number of tokens.

    Attributes:
        total_duration: The duration of the whole request.
        load_duration: The duration until the model was selected; it is always loaded.
        prompt_eval_count: The number of tokens of all texts.
    """

    total_duration: int
    load_duration: int
    prompt_eval_count: int


class EmbedResponse(Durations):
    """One vector per text, of length 1."""

    model: str
    embeddings: list[list[float]]


class EmbeddingsRequest(TextOptions):
    """One text to embed."""

    prompt: str = ""


class EmbeddingsResponse(BaseModel):
    """The vector of the text, not normalized."""

    embedding: list[float]


class RerankRequest(TextOptions):
    """A query, and the documents to rank.

    Attributes:
        query: The query.
        documents: The documents.
        top_n: The number of documents to return (default: all).
    """

    query: str
    documents: list[str]
    top_n: Annotated[int, Field(ge=1)] | None = None


class RankedDocument(BaseModel):
    """A document with its index in the request, and its score."""

    index: int
    document: str
    relevance_score: float


class RerankResponse(Durations):
    """The documents, most relevant first."""

    model: str
    results: list[RankedDocument]


class ModelDetails(BaseModel):
    """The kind and the size of a model.

    Attributes:
        parent_model: Always empty.
        format: The format of its weights.
        family: The type of the model in config.json, such as "bert".
        families: The same in a list.
        parameter_size: The number of parameters, such as "22.71M"; empty if it is unknown.
        quantization_level: The dtype of its weights, such as "F32"; empty if it is unknown.
    """

    parent_model: str = ""
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class TaggedModel(BaseModel):
    """A model in the list of all models.

    Attributes:
        name: Its name with a tag.
        model: The same.
        modified_at: The time of the last change of its weights, in ISO 8601.
        size: The size of its weights in bytes.
        digest: An identifier that changes with config.json, and with the names and sizes of the weights.
        details: Its kind and size.
    """

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: ModelDetails


class TagsResponse(BaseModel):
    """All models of the server."""

    models: list[TaggedModel]


class ShowRequest(BaseModel):
    """The model to describe, under ``model`` or its former name ``name``."""

    model: str = ""
    name: str = ""


class ShowResponse(BaseModel):
    """The description of a model.

    Attributes:
        modelfile: The instructions from which Ollama would create the model.
        parameters: The values of options, one per line.
        template: The template of the text that the model reads.
        details: The kind and the size of the model.
        model_info: Values of config.json, under the names of GGUF files.
        capabilities: "embedding" and "rerank".
        modified_at: The time of the last change of its weights, in ISO 8601.
    """

    modelfile: str
    parameters: str
    template: str
    details: ModelDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class VersionResponse(BaseModel):
    """The version of Ollama whose API this is."""

    version: str


class ErrorResponse(BaseModel):
    """The body of all errors."""

    error: str
