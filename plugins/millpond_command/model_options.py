"""The options of a model, as every command that loads one has them: names, help and headings, each declared once.

The fields bear the names of the arguments of ``LLM``, which ``model_arguments`` makes of what was typed. A command
takes a group of them as one parameter, or a group of its own that adds to them; see ``declare.command``.
"""

from dataclasses import dataclass
from typing import Annotated

from millpond_command.declare import option

Quantization = Annotated[
    str | None,
    option(
        "Computing",
        "--quantization",
        metavar="SCHEME",
        help="int8 computes in 8-bit integers: close to the same, and faster on x86-64 CPUs with AVX2 or more.",
    ),
]
Deterministic = Annotated[
    bool,
    option("Computing", "--deterministic", help="Give each text the same bits, whatever it is computed together with."),
]
IOProcessorPlugin = Annotated[
    str | None,
    option(
        "Model",
        "--io-processor-plugin",
        metavar="NAME",
        help="The IO processor of the task plugin; the one that config.json names if unset.",
    ),
]


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
            help="The converter that makes a pooling model of another, such as embed or classify; auto chooses, none "
            "forbids.",
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

    trust_remote_code: Annotated[
        bool,
        option("Model", "--trust-remote-code", help="Let code in the model's folder run; native models need none."),
    ] = False
    device: Annotated[str, option("Computing", "--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 ...")] = (
        "auto"
    )
    kernels: Annotated[
        list[str] | None,
        option(
            "Computing",
            "--kernel",
            metavar="OP=VARIANT",
            help="The implementation of an op, such as attention=sdpa. May be given several times.",
        ),
    ] = None
    quantization: Quantization = None
    deterministic: Deterministic = False


@dataclass(frozen=True, kw_only=True)
class Running(Computing, Settings):
    """A model that is run."""

    max_num_batched_tokens: Annotated[
        int | None,
        option(
            "Computing",
            "--max-num-batched-tokens",
            "--batch-tokens",
            metavar="N",
            least=1,
            help="The most tokens of a batch.",
        ),
    ] = None
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
    apply_default_prompt: Annotated[
        bool,
        option(
            "Prompt",
            "--apply-default-prompt",
            help="Put the prompt that the model names as its default before each text, where no other is asked for.",
        ),
    ] = False
