"""Options that several commands share, each declared once: its names, its help, its heading.

Options that belong together are fields of a dataclass, which a command takes as one parameter; see
``declare.command``.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from millpond_command.declare import option
from millpond_command.model_options import Computing, Files

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_HELP = "A folder, a Hugging Face Hub id, or package:NAME for one that a Python package carries."

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
ModelOption = Annotated[str, option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT", help="The texts; none, or - alone, for the lines of stdin.")
]
WithText = Annotated[bool, option("Output", "--with-text", help="Write each text beside its result.")]
AsJson = Annotated[bool, option("Output", "--json", help="Print JSON.")]
Quiet = Annotated[bool, option("Output", "--quiet", "-q", help="Show errors only: no progress bar and no notes.")]
RecordsFormat = Annotated[
    str | None,
    option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="jsonl, json or csv. (default: by the name of the file, else jsonl)",
    ),
]
Dimensions = Annotated[
    int | None,
    option(
        "Pooling",
        "--dimensions",
        metavar="N",
        least=1,
        help="Keep N dimensions, of models trained for it (Matryoshka).",
    ),
]


# --- input and output -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options of the input, and of texts that fail."""

    input_path: Annotated[
        str | None,
        option(
            "Input",
            "--input",
            "-i",
            metavar="FILE",
            help="Read a .txt, .jsonl, .csv or .tsv file, also with .gz; - for stdin.",
        ),
    ] = None
    input_format: Annotated[
        str | None,
        option(
            "Input",
            "--input-format",
            metavar="FORMAT",
            help="txt, jsonl, csv or tsv, where the name of the file does not state it. (default for stdin: txt)",
        ),
    ] = None
    id_key: Annotated[
        str | None,
        option(
            "Input",
            "--id-key",
            "--id-column",
            metavar="KEY",
            help="The JSON field or CSV column of an id to keep; id, where there is one, if unset.",
        ),
    ] = None
    on_error: Annotated[
        str,
        option(
            "Input",
            "--on-error",
            metavar="ACTION",
            help="raise: stop at the first text that fails; skip: report it on stderr, continue, and exit with 3.",
        ),
    ] = "raise"


@dataclass(frozen=True, kw_only=True)
class ReadingTexts(Reading):
    """Options of an input of single texts."""

    text_key: Annotated[
        str | None,
        option(
            "Input",
            "--text-key",
            "--text-column",
            metavar="KEY",
            help="The JSON field or CSV column of the text; a.b names the field b inside of a. (default: text)",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ReadingPairs(Reading):
    """Options of an input of pairs of a query and a document."""

    query_key: Annotated[
        str | None,
        option(
            "Input",
            "--query-key",
            metavar="KEY",
            help="The JSON field or CSV column of the query; query if unset, in a file of queries text.",
        ),
    ] = None
    document_key: Annotated[
        str | None,
        option(
            "Input",
            "--document-key",
            metavar="KEY",
            help="The JSON field or CSV column of the document; document if unset, in a file of documents text.",
        ),
    ] = None
    queries: Annotated[
        str | None,
        option(
            "Input", "--queries", metavar="FILE", help="Read queries from a file of their own: one, or one a document."
        ),
    ] = None
    documents: Annotated[
        str | None,
        option("Input", "--documents", "-d", metavar="FILE", help="Read documents from a file of their own."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Writing:
    """Options of the output, and of notes and progress."""

    output_path: Annotated[
        str | None,
        option("Output", "--output", "-o", metavar="FILE", help="Write a file, whole or not at all. (default: stdout)"),
    ] = None
    quiet: Quiet = False
    progress: Annotated[
        bool | None,
        option("Output", "--progress/--no-progress", help="Show a progress bar on stderr. (default: on a terminal)"),
    ] = None


# --- model ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Benchmarked(Computing, Files):
    """A model whose speed is measured."""


# --- calls ------------------------------------------------------------------------------------------------------------
# The fields of the next two have the names of the arguments of LLM's methods.


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Options of each text, for any task; see ``arguments.for_call``."""

    prompt: Annotated[
        str | None, option("Prompt", "--prompt", metavar="TEXT", help="Put this before each text, such as 'query: '.")
    ] = None
    prompt_name: Annotated[
        str | None,
        option("Prompt", "--prompt-name", metavar="NAME", help="The same by the name that the model gives it."),
    ] = None
    adapter: Annotated[
        str | None,
        option(
            "Prompt",
            "--adapter",
            metavar="NAME",
            help="The adapter to compute with, of models that have one for each purpose; the prompt of that name goes "
            "with it.",
        ),
    ] = None
    on_overflow: Annotated[
        str | None,
        option(
            "Pooling",
            "--on-overflow",
            metavar="ACTION",
            help="Handling of a text that is too long. error: it fails; truncate: it is cut; chunk: it is embedded in "
            "pieces, which are merged. (default: error)",
        ),
    ] = None
    truncate: Annotated[
        bool | None,
        option("Pooling", "--truncate/--no-truncate", help="The same as --on-overflow truncate, or error."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Options of pairs that become one text, for models that read both at once; arguments of ``LLM.score``."""

    instruction: Annotated[
        str | None,
        option(
            "Pair",
            "--instruction",
            metavar="TEXT",
            help="The criterion of relevance, for rerankers that take an instruction.",
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        option(
            "Pair", "--chat-template", metavar="JINJA", help="The template of a pair, as text or as the path of a file."
        ),
    ] = None
    max_tokens_per_query: Annotated[
        int | None,
        option("Pair", "--max-tokens-per-query", metavar="N", least=0, help="Cut queries to N tokens."),
    ] = None
    max_tokens_per_doc: Annotated[
        int | None,
        option("Pair", "--max-tokens-per-doc", metavar="N", least=0, help="Cut documents to N tokens."),
    ] = None
