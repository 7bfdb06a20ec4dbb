"""Options that several commands share.

Related options are the fields of a dataclass, which a command takes as one parameter; see
``declare.command``.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from millpond_command.declare import option
from millpond_command.model_options import MODEL_HELP, ComputeOptions, FileOptions, ProgressOptions

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
ModelOption = Annotated[str, option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="The texts. Without any, or with -, lines are read from stdin."),
]
WithText = Annotated[bool, option("Output", "--with-text", help="Include each text in its result.")]
AsJson = Annotated[bool, option("Output", "--json", help="Print JSON.")]
RecordsFormat = Annotated[
    str | None,
    option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="jsonl, json, csv or parquet. (default: from the file name, else jsonl)",
    ),
]
Dimensions = Annotated[
    int | None,
    option(
        "Pooling",
        "--dimensions",
        metavar="N",
        least=1,
        help="Keep the first N dimensions, for models trained for it (Matryoshka).",
    ),
]

InputFormat = Annotated[
    str | None,
    option(
        "Input",
        "--input-format",
        metavar="FORMAT",
        help="txt, jsonl, csv, tsv, parquet or arrow. (default: from the file name; for stdin, txt)",
    ),
]
IdKey = Annotated[
    str | None,
    option(
        "Input",
        "--id-key",
        "--id-column",
        metavar="KEY",
        help="The JSON field or CSV column of an id to include in results. (default: id, if it exists)",
    ),
]
OnError = Annotated[
    str,
    option(
        "Input",
        "--on-error",
        metavar="ACTION",
        help="raise: stop at the first text that fails; skip: report it on stderr, continue, and exit with code 3.",
    ),
]
TextKey = Annotated[
    str | None,
    option(
        "Input",
        "--text-key",
        "--text-column",
        metavar="KEY",
        help="The JSON field or CSV column of the text; a.b is field b of object a. (default: text)",
    ),
]


# --- input and output -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options for the input, and for texts that fail."""

    input_path: Annotated[
        str | None,
        option(
            "Input",
            "--input",
            "-i",
            metavar="FILE",
            help="Read a .txt, .jsonl, .csv, .tsv, .parquet or .arrow file; text may be compressed (.gz); - for stdin.",
        ),
    ] = None
    input_format: InputFormat = None
    id_key: IdKey = None
    on_error: OnError = "raise"


@dataclass(frozen=True, kw_only=True)
class TextInputOptions(InputOptions):
    """Options for an input of single texts."""

    text_key: TextKey = None


@dataclass(frozen=True, kw_only=True)
class PairInputOptions(InputOptions):
    """Options for an input of pairs of a query and a document."""

    query_key: Annotated[
        str | None,
        option(
            "Input",
            "--query-key",
            "--query-column",
            metavar="KEY",
            help="The JSON field or CSV column of the query. (default: query; with --queries, text)",
        ),
    ] = None
    document_key: Annotated[
        str | None,
        option(
            "Input",
            "--document-key",
            "--document-column",
            metavar="KEY",
            help="The JSON field or CSV column of the document. (default: document; with --documents, text)",
        ),
    ] = None
    queries: Annotated[
        str | None,
        option(
            "Input", "--queries", metavar="FILE", help="Read queries from a separate file: one, or one per document."
        ),
    ] = None
    documents: Annotated[
        str | None,
        option("Input", "--documents", "-d", metavar="FILE", help="Read documents from a separate file."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class OutputOptions(ProgressOptions):
    """Options for the output and the progress."""

    output_path: Annotated[
        str | None,
        option(
            "Output",
            "--output",
            "-o",
            metavar="FILE",
            help="Write results to a file, which is only created if the command succeeds. (default: stdout)",
        ),
    ] = None


# --- model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BenchOptions(ComputeOptions, FileOptions):
    """Options for a model whose speed is measured."""


# --- calls ------------------------------------------------------------------------------------------------------------
# The fields of the following classes have the names of the arguments of LLM's methods.


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """Options of a call for any task; see ``arguments.call_arguments``."""

    prompt: Annotated[
        str | None, option("Prompt", "--prompt", metavar="TEXT", help="Prepend TEXT to each text, such as 'query: '.")
    ] = None
    prompt_name: Annotated[
        str | None,
        option("Prompt", "--prompt-name", metavar="NAME", help="Prepend one of the model's prompts, by its name."),
    ] = None
    adapter: Annotated[
        str | None,
        option(
            "Prompt",
            "--adapter",
            metavar="NAME",
            help="Use one of the model's adapters, and the prompt of the same name if the model has one.",
        ),
    ] = None
    on_overflow: Annotated[
        str | None,
        option(
            "Pooling",
            "--on-overflow",
            metavar="ACTION",
            help="What to do with a text that is too long. error: fail; truncate: truncate it; chunk: embed it in "
            "chunks and merge their vectors. (default: error)",
        ),
    ] = None
    truncate: Annotated[
        bool | None,
        option("Pooling", "--truncate/--no-truncate", help="Short for --on-overflow truncate or error."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Options for models that encode a query and a document together; arguments of ``LLM.score``."""

    instruction: Annotated[
        str | None,
        option(
            "Pair",
            "--instruction",
            metavar="TEXT",
            help="The definition of relevance, for rerankers that take an instruction.",
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        option(
            "Pair", "--chat-template", metavar="JINJA", help="The template of a pair: Jinja text or the path of a file."
        ),
    ] = None
    max_tokens_per_query: Annotated[
        int | None,
        option("Pair", "--max-tokens-per-query", metavar="N", least=0, help="Truncate queries to N tokens."),
    ] = None
    max_tokens_per_doc: Annotated[
        int | None,
        option("Pair", "--max-tokens-per-doc", metavar="N", least=0, help="Truncate documents to N tokens."),
    ] = None
