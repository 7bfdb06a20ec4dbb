"""Recipe: the description of a bulk computation, without an engine, which can be sent to other processes."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from millpond.types.model_args import DEFAULTS
from millpond_recipes.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from millpond_recipes.runner import Runner

EmbedDtype = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
SCORE = "score"
NOT_STORED = ("hf_token", "cache", "cache_size")  # secrets, and places that may contain one, such as a URL


class Recipe(BaseModel):
    """A model, a task, its options, and the columns to read: everything that determines a result.

    A recipe is immutable, picklable and JSON. It contains no engine: `open` loads the model.

    Attributes:
        model: A folder, a hub id (``org/name``), or ``scheme:name`` to ask one source.
        revision: The branch, tag or commit on the hub.
        args: Options of ``millpond.LLM`` by name, such as ``{"dtype": "bfloat16"}``; those with the default value are
            dropped.
        task: "embed", "token_embed", "embed_sparse", "classify", "token_classify", "score", "entities", or another task
            of the model.
        options: Options of the task by name, such as ``{"max_active_dims": 256}``.
        prompt: Text before each text.
        prompt_name: The same by the name that the checkpoint gives it.
        input_type: "query" or "document", for models that encode them differently.
        dimensions: Keep the first N dimensions, for models trained for it (Matryoshka).
        embed_dtype: The type of the numbers of vectors. "int8" and "uint8" scale values from -1 to 1; "binary" and
            "ubinary" keep one bit per dimension, eight in a byte.
        text_column: The column of texts, or of lists of messages; for the task "score", of documents; for a task that
            reads objects, of objects.
        query_column: The column of queries, for the task "score".
        image_column: The column of images, as paths or as bytes of files; texts are not read then.
        id_column: The column that identifies rows in the results; None for their numbers.
        on_overflow: The treatment of texts over the maximum length: "error", "truncate" or "chunk"; None for the
            model's default.
        on_error: "null" for a null result and a message in the column ``error``; "raise" to stop the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model: str = Field(min_length=1)
    revision: str | None = None
    args: dict[str, JsonValue] = Field(default_factory=dict)
    task: str = "embed"
    options: dict[str, JsonValue] = Field(default_factory=dict)
    prompt: str | None = None
    prompt_name: str | None = None
    input_type: Literal["query", "document"] | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    embed_dtype: EmbedDtype = "float32"
    text_column: str = "text"
    query_column: str | None = None
    image_column: str | None = None
    id_column: str | None = None
    on_overflow: Literal["error", "truncate", "chunk"] | None = None
    on_error: Literal["null", "raise"] = "null"

    @field_validator("args")
    @classmethod
    def _check_args(cls, args: dict[str, JsonValue]) -> dict[str, JsonValue]:
        unknown = sorted(args.keys() - DEFAULTS.keys())
        if unknown:
            message = f"Unknown option of the model {unknown[0]!r}. Available: {', '.join(DEFAULTS)}"
            raise ValueError(message)
        if "revision" in args:
            message = "'revision' is a field of the recipe, not of args"
            raise ValueError(message)
        return {name: value for name, value in args.items() if value != DEFAULTS[name]}

    @model_validator(mode="after")
    def _check_columns(self) -> "Recipe":
        if (self.task == SCORE) != (self.query_column is not None):
            message = "the task 'score' needs query_column, and no other task has queries"
            raise ValueError(message)
        if self.prompt is not None and self.prompt_name is not None:
            message = "prompt and prompt_name exclude each other"
            raise ValueError(message)
        return self

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that are read from the input."""
        content = self.text_column if self.image_column is None else self.image_column
        return tuple(dict.fromkeys(filter(None, (self.id_column, self.query_column, content))))

    @property
    def model_arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``millpond.LLM``."""
        return {**self.args, **({} if self.revision is None else {"revision": self.revision})}

    def stored(self) -> "Recipe":
        """Return the recipe as files contain it: without access tokens and caches, which do not change results."""
        args = {name: value for name, value in self.args.items() if name not in NOT_STORED}
        return self.model_copy(update={"args": args})

    def __repr_args__(self) -> "Iterable[tuple[str | None, Any]]":
        """Hide access tokens in logs and tracebacks."""
        return iter(self.stored().__dict__.items())

    def to_json(self) -> str:
        """Return the recipe as one JSON text with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)

    def schema(self, input_schema: "pa.Schema") -> "pa.Schema":  # type: ignore[override]  # pydantic's is deprecated
        """Return the schema of `Runner`'s result for a table: its columns, then those of the results.

        Reads the model's configuration, not its weights.

        Raises:
            RecipeError: If the table lacks a column, or the model does not serve the task.
        """
        from millpond_recipes.model_facts import read_model_facts
        from millpond_recipes.results import result_columns
        from millpond_recipes.rows import check_schema

        check_schema(input_schema, self)
        fields = result_columns(self, read_model_facts(self)).fields
        return append_fields(input_schema, fields)

    def fingerprint(self) -> str:
        """Return a SHA-256 of everything that can change a result.

        Covers the recipe, the files of the model, the device and its kernels, and the versions of the libraries that
        compute. Two recipes with one fingerprint have the same results, bit by bit if ``batch_invariant`` is on.
        """
        from millpond_recipes.fingerprint import fingerprint_of

        return fingerprint_of(self)

    def open(self) -> "Runner":
        """Load the model. Do it once per process and device.

        Raises:
            RecipeError: If the model is served by plugins that are registered at run time only.
        """
        from millpond_recipes.runner import Runner

        return Runner(self)


def append_fields(schema: "pa.Schema", fields: "list[pa.Field]") -> "pa.Schema":
    """Append fields to a schema.

    Raises:
        RecipeError: If the schema has a column of the same name.
    """
    for field in fields:
        if field.name in schema.names:
            message = f"the input has a column {field.name!r}, which is the name of a result: rename or drop it"
            raise RecipeError(message)
        schema = schema.append(field)
    return schema
