"""Options of ``millpond job run``: the columns of the input, and the computation."""

from dataclasses import dataclass
from typing import Annotated

from millpond_command import declare


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Options for the columns of the input."""

    text_column: Annotated[
        str,
        declare.option(
            "Input",
            "--text-column",
            "--text-key",
            metavar="NAME",
            help="The column of texts or messages, or of the objects that the task reads.",
        ),
    ] = "text"
    query_column: Annotated[
        str | None,
        declare.option(
            "Input", "--query-column", "--query-key", metavar="NAME", help="The column of queries, for --task score."
        ),
    ] = None
    image_column: Annotated[
        str | None,
        declare.option("Input", "--image-column", metavar="NAME", help="The column of images: paths or bytes."),
    ] = None
    id_column: Annotated[
        str | None,
        declare.option(
            "Input", "--id-column", "--id-key", metavar="NAME", help="The column of ids. (default: row numbers)"
        ),
    ] = None
    allow_duplicate_ids: Annotated[
        bool, declare.option("Input", "--allow-duplicate-ids", help="Accept two rows with one id.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Options for what is computed."""

    task: Annotated[
        str,
        declare.option(
            "Pooling",
            "--pooling-task",
            "--task",
            metavar="TASK",
            help="embed, token_embed, embed_sparse, classify, token_classify, score, entities, or a plugin's task.",
        ),
    ] = "embed"
    task_options: Annotated[
        str | None,
        declare.option("Pooling", "--task-options", metavar="JSON", help="Options of the task, as a JSON object."),
    ] = None
    dimensions: Annotated[
        int | None,
        declare.option("Pooling", "--dimensions", metavar="N", least=1, help="Keep the first N dimensions."),
    ] = None
    embed_dtype: Annotated[
        str,
        declare.option(
            "Pooling",
            "--embed-dtype",
            metavar="DTYPE",
            help="The type of vectors: float32, float16, int8, uint8, binary or ubinary.",
        ),
    ] = "float32"
    prompt: Annotated[
        str | None, declare.option("Prompt", "--prompt", metavar="TEXT", help="Text before each text.")
    ] = None
    prompt_name: Annotated[
        str | None,
        declare.option("Prompt", "--prompt-name", metavar="NAME", help="The name of one of the model's prompts."),
    ] = None
    input_type: Annotated[
        str | None, declare.option("Prompt", "--input-type", metavar="TYPE", help="query or document.")
    ] = None
    on_overflow: Annotated[
        str | None,
        declare.option(
            "Prompt",
            "--on-overflow",
            metavar="ACTION",
            help="For texts over the maximum length: error, truncate or chunk. (default: that of the model)",
        ),
    ] = None
    on_error: Annotated[
        str,
        declare.option(
            "Output",
            "--on-error",
            metavar="ACTION",
            help="For rows that fail: null for a null result and a message, raise to stop.",
        ),
    ] = "null"
