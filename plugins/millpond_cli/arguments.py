"""What was typed of a model, checked and turned into the arguments of ``LLM``, before torch is imported."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millpond.cli import USAGE, CommandError
from millpond.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.loading.arguments import Arguments


@dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """What a command line says of a model and how it is run, as it was typed."""

    model: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_model_len: int | None = None
    hf_overrides: str | None = None
    convert: str = "auto"
    allow_pickle: bool = False
    trust_remote_code: bool = False
    kernels: Sequence[str] | None = None
    quantization: str | None = None
    deterministic: bool = False
    batch_tokens: int | None = None
    pooler_config: str | None = None

    def load(self) -> "LLM":
        """The model, ready to be asked.

        Raises:
            CommandError: What was typed is wrong in itself.
        """
        arguments = self._for_llm()  # first: a slip of the pen is told before torch is imported
        from millpond.llm import LLM  # noqa: PLC0415  needs pydantic, then torch; --help needs neither

        return LLM(self.model, **arguments)

    def read(self) -> "Arguments":
        """The arguments as loading takes them, for who looks at a model without running it.

        Raises:
            CommandError: What was typed is wrong in itself.
        """
        from millpond.loading.arguments import read_arguments  # noqa: PLC0415  as above

        return read_arguments(self._for_llm())

    def _for_llm(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "dtype": self.dtype,
            "device": self.device,
            "max_model_len": self.max_model_len,
            "hf_overrides": json_object("--hf-overrides", self.hf_overrides),
            "convert": self.convert,
            "allow_pickle": self.allow_pickle,
            "trust_remote_code": self.trust_remote_code,
            "kernels": kernels_of(self.kernels or ()),
            "quantization": self.quantization,
            "deterministic": self.deterministic,
            "max_num_batched_tokens": self.batch_tokens,
            "pooler_config": pooler_config_of(self.pooler_config),
        }


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """The JSON object that was given to an option.

    Raises:
        CommandError: It is none.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{option} {text!r} is not JSON: {error}"
        hint = f'quote it for the shell: {option} \'{{"name": "value"}}\''
        raise CommandError(message, hint=hint, exit_code=USAGE) from error
    if not isinstance(value, dict):
        message = f"{option} {text!r} is no JSON object"
        raise CommandError(message, exit_code=USAGE)
    return value


def pooler_config_of(text: str | None) -> dict[str, Any] | None:
    """The object given to ``--pooler-config``, its fields checked.

    Raises:
        CommandError: It is no pooler config.
    """
    config = json_object("--pooler-config", text)
    if config is None:
        return None
    from millpond.config import PoolerConfig  # noqa: PLC0415  needs pydantic; --help does not

    try:
        PoolerConfig.parse(config)
    except InvalidInputError as error:
        message = f"--pooler-config {text!r}: {error.message.removeprefix('pooler_config: ')}"
        raise CommandError(message, exit_code=USAGE) from error
    return config


def kernels_of(given: Sequence[str]) -> dict[str, str]:
    """The variants that ``--kernel`` names, by op.

    Raises:
        CommandError: One is not spelled ``op=variant``.
    """
    kernels: dict[str, str] = {}
    for item in given:
        op, _, variant = item.partition("=")
        if not (op and variant):
            message = f"--kernel {item!r} is not spelled OP=VARIANT, such as attention=sdpa"
            raise CommandError(message, hint="`millpond plugins kernels` lists what there is", exit_code=USAGE)
        kernels[op] = variant
    return kernels
