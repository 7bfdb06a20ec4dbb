"""The options that several commands have, each declared once: its names, its help, its heading.

Those that go together are fields of a dataclass, which a command takes as one parameter; see ``declare.command``.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from millpond.declare import option

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_HELP = "A folder, a Hugging Face Hub id, or package:NAME for one that a Python package carries."

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
ModelOption = Annotated[str, option("Model", "--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Texts = Annotated[
    list[str] | None, typer.Argument(metavar="TEXT", help="The texts; none, or - alone, for the lines of stdin.")
]
WithText = Annotated[bool, option("Output", "--with-text", help="Write each text beside its result.")]
AsJson = Annotated[bool, option("Output", "--json", help="Print JSON.")]
Quiet = Annotated[bool, option("Output", "--quiet", "-q", help="No progress bar and no notes; errors alone.")]
RecordsFormat = Annotated[
    str | None,
    option(
        "Output",
        "--format",
        "-f",
        metavar="FORMAT",
        help="jsonl, json or csv. If unset, by the name of the file; else jsonl.",
    ),
]
Quantization = Annotated[
    str | None,
    option(
        "Model",
        "--quantization",
        metavar="SCHEME",
        help="int8 computes in 8-bit integers: about twice as fast, and close to the same.",
    ),
]
Deterministic = Annotated[
    bool,
    option("Model", "--deterministic", help="Give each text the same bits, whatever it is computed together with."),
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
    """Where texts are read from, and what becomes of those that fail."""

    input_path: Annotated[
        str | None,
        option("Input", "--input", "-i", metavar="FILE", help="Read a .txt, .jsonl or .csv file; - for stdin."),
    ] = None
    input_format: Annotated[
        str | None,
        option(
            "Input",
            "--input-format",
            metavar="FORMAT",
            help="txt, jsonl or csv, where the name of the file does not say it. Stdin is txt if unset.",
        ),
    ] = None
    id_key: Annotated[
        str | None,
        option(
            "Input",
            "--id-key",
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
            help="raise: stop at the first text that fails; skip: tell it on stderr, go on, and exit with 3.",
        ),
    ] = "raise"


@dataclass(frozen=True, kw_only=True)
class ReadingTexts(Reading):
    """The same of single texts."""

    text_key: Annotated[
        str | None,
        option("Input", "--text-key", metavar="KEY", help="The JSON field or CSV column of the text; text if unset."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ReadingPairs(Reading):
    """The same of pairs of a query and a document."""

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
    """Where results are written, and what is told meanwhile."""

    output_path: Annotated[
        str | None,
        option("Output", "--output", "-o", metavar="FILE", help="Write a file, whole or not at all; stdout if unset."),
    ] = None
    quiet: Quiet = False
    progress: Annotated[
        bool | None,
        option("Output", "--progress/--no-progress", help="Show a progress bar on stderr; on a terminal if unset."),
    ] = None


# --- model ------------------------------------------------------------------------------------------------------------
# The fields bear the names of the arguments of LLM; see ``arguments.for_llm``.


@dataclass(frozen=True, kw_only=True)
class Files:
    """How the files of a model are read."""

    revision: Annotated[
        str | None, option("Model", "--revision", metavar="REV", help="The branch, tag or commit on the hub.")
    ] = None
    dtype: Annotated[
        str,
        option(
            "Model",
            "--dtype",
            metavar="DTYPE",
            help="auto, float32, bfloat16 or float16. auto keeps the checkpoint's where the device computes in it.",
        ),
    ] = "auto"
    hf_overrides: Annotated[
        str | None,
        option("Model", "--hf-overrides", metavar="JSON", help="An object that replaces parts of config.json."),
    ] = None
    convert: Annotated[
        str,
        option(
            "Model",
            "--convert",
            metavar="NAME",
            help="The converter that makes a pooling model of another; auto chooses, none forbids.",
        ),
    ] = "auto"
    model_impl: Annotated[
        str,
        option(
            "Model",
            "--model-impl",
            metavar="NAME",
            help="Whose code computes the model: native, transformers, or auto for what is native, else the other.",
        ),
    ] = "auto"
    allow_pickle: Annotated[
        bool, option("Model", "--allow-pickle", help="Read weights that are pickles, with weights_only=True.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Settings(Files):
    """What a model is made to be, beside what its files say."""

    max_model_len: Annotated[
        int | None,
        option(
            "Model", "--max-model-len", metavar="N", least=1, help="The most tokens of a text, if not the model's own."
        ),
    ] = None
    pooler_config: Annotated[
        str | None,
        option(
            "Pooling",
            "--pooler-config",
            metavar="JSON",
            help='How hidden states become the result, such as {"pooling_type": "CLS"}.',
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How a model computes."""

    device: Annotated[str, option("Model", "--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")] = "auto"
    trust_remote_code: Annotated[
        bool,
        option("Model", "--trust-remote-code", help="Let code in the model's folder run; native models need none."),
    ] = False
    kernels: Annotated[
        list[str] | None,
        option(
            "Model",
            "--kernel",
            metavar="OP=VARIANT",
            help="The implementation of an op, such as attention=sdpa. May be given several times.",
        ),
    ] = None
    quantization: Quantization = None
    deterministic: Deterministic = False


@dataclass(frozen=True, kw_only=True)
class Tuning(Computing, Files):
    """What of a model counts for how fast it is."""


@dataclass(frozen=True, kw_only=True)
class Serving(Computing, Settings):
    """A model that is to be asked."""

    mm_processor_kwargs: Annotated[
        str | None,
        option(
            "Model",
            "--mm-processor-kwargs",
            metavar="JSON",
            help='How large images are read, such as {"max_pixels": 401408}: what there is depends on the model.',
        ),
    ] = None
    limit_mm_per_prompt: Annotated[
        str | None,
        option(
            "Model", "--limit-mm-per-prompt", metavar="JSON", help='The most images of a prompt, such as {"image": 2}.'
        ),
    ] = None
    max_num_batched_tokens: Annotated[
        int | None, option("Model", "--batch-tokens", metavar="N", least=1, help="The most tokens of a batch.")
    ] = None
    apply_default_prompt: Annotated[
        bool,
        option(
            "Prompt",
            "--apply-default-prompt",
            help="Put the prompt that the model names as its default before each text, where no other is asked for.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ServingPlugins(Serving):
    """The same, where its prompts may be those of an IO processor of a plugin's."""

    io_processor_plugin: Annotated[
        str | None,
        option(
            "Model",
            "--io-processor-plugin",
            metavar="NAME",
            help="The IO processor of the task plugin; the one that config.json names if unset.",
        ),
    ] = None


# --- calls ------------------------------------------------------------------------------------------------------------
# The fields of the next two bear the names of the arguments of LLM's methods.


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of each text, whatever the task; see ``arguments.for_call``."""

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
            help="What becomes of a text that is too long. error: it fails, as if unset; truncate: it is cut; chunk: "
            "it is embedded in pieces, which are merged.",
        ),
    ] = None
    truncate: Annotated[
        bool | None,
        option("Pooling", "--truncate/--no-truncate", help="The same as --on-overflow truncate, or error."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How a query and a document become one text, for models that read both at once; the fields of ``LLM.score``."""

    instruction: Annotated[
        str | None,
        option(
            "Pair", "--instruction", metavar="TEXT", help="What to judge by, of rerankers that take an instruction."
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
