"""Command lines as people write them for vLLM, respelled as ``millpond serve`` declares its options.

Knows nothing of models, and imports nothing that takes time.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from millpond.cli import USAGE, CommandError
from millpond.model_arguments import OBJECTS, option_of

# --pooler-config.task embed, --hf-overrides.rope.theta 1e6: parts of a JSON object.
DOTTED = frozenset(map(option_of, OBJECTS))
# Options that take all the words up to the next option.
MANY = frozenset(
    {"--served-model-name", "--api-key", "--kernel", "--routes", "--cors-origin", "--allowed-media-domains"}
)
MODEL = "--model"  # the model itself, as older command lines name it
RENAMED = {
    "--override-pooler-config": "--pooler-config",
    "--kernels": "--kernel",
    "--allowed-origins": "--cors-origin",
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
}
# What means nothing for pooling models, or here. With a value:
VALUED = frozenset(
    {
        "--allowed-headers",
        "--allowed-methods",
        "--block-size",
        "--chat-template-content-format",
        "--compilation-config",
        "--config-format",
        "--cpu-offload-gb",
        "--distributed-executor-backend",
        "--gpu-memory-utilization",
        "--h11-max-header-count",
        "--h11-max-incomplete-event-size",
        "--kv-cache-dtype",
        "--load-format",
        "--max-log-len",
        "--max-parallel-loading-workers",
        "--max-seq-len-to-capture",
        "--media-io-kwargs",
        "--num-gpu-blocks-override",
        "--scheduling-policy",
        "--seed",
        "--swap-space",
        "--tokenizer-mode",
        "--tokenizer-revision",
        "--uvicorn-log-level",
    }
)
# Without:
FLAGS = frozenset(
    {
        "--allow-credentials",
        "--async-scheduling",
        "--disable-custom-all-reduce",
        "--disable-fastapi-docs",
        "--disable-frontend-multiprocessing",
        "--disable-log-requests",
        "--disable-log-stats",
        "--disable-uvicorn-access-log",
        "--enable-chunked-prefill",
        "--enable-flash-late-interaction",
        "--enable-log-requests",
        "--enable-mm-embeds",
        "--enable-prefix-caching",
        "--enable-request-id-headers",
        "--enable-ssl-refresh",
        "--enforce-eager",
        "--no-async-scheduling",
        "--no-enable-chunked-prefill",
        "--no-enable-log-requests",
        "--no-enable-prefix-caching",
    }
)
# Supported for one value alone.
MUST_BE = {"--tensor-parallel-size": "1", "--pipeline-parallel-size": "1", "--data-parallel-size": "1"}


@dataclass
class Respelled:
    """A command line, respelled.

    Attributes:
        words: Its words.
        without_effect: The options that were taken out of it because they mean nothing here.
    """

    words: list[str] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)


def respell(words: Sequence[str]) -> Respelled:
    """Bring a command line into the spelling of the options that are declared.

    Long options may have underscores for dashes and dots for parts of an object; some take several words.

    Raises:
        CommandError: An option lacks its value, or asks for what there is not.
    """
    made = Respelled()
    objects: dict[str, dict[str, Any]] = {}
    for name, value in _options(deque(words), made):
        option, _, part = name.partition(".")
        if part:
            _put(objects.setdefault(option, {}), part, value)
        else:
            made.words.append(f"{name}={value}")
    for option, parts in objects.items():
        if any(word.startswith(f"{option}=") for word in made.words):
            message = f"{option} is given both as a whole and in parts"
            raise CommandError(message, exit_code=USAGE)
        made.words.append(f"{option}={json.dumps(parts)}")
    return made


def _options(left: deque[str], made: Respelled) -> Iterator[tuple[str, str]]:
    """The options that are to be declared once a value; all else goes into the result."""
    while left:
        word = left.popleft()
        name, sign, stated = _named(word)
        if name in FLAGS:
            made.without_effect.append(name)
        elif name in VALUED or name in MUST_BE:
            value = stated if sign else _next(left, word)
            _check(name, value)
            made.without_effect.append(f"{name} {value}")
        elif name in MANY or name.partition(".")[0] in DOTTED:
            yield name, stated if sign else _next(left, word)
            while name in MANY and not sign and left and not left[0].startswith("-"):
                yield name, left.popleft()
        elif name == MODEL:
            made.words.append(stated if sign else _next(left, word))
        else:
            made.words.append(f"{name}{sign}{stated}")


def _next(left: deque[str], word: str) -> str:
    if not left:
        message = f"{word} needs a value"
        raise CommandError(message, exit_code=USAGE)
    return left.popleft()


def _named(word: str) -> tuple[str, str, str]:
    """The name of an option as it is declared, the sign behind it if there is one, and the value behind that."""
    if not word.startswith("-"):
        return word, "", ""
    name, sign, value = word.partition("=")
    if name.startswith("--"):
        option, dot, part = name.partition(".")
        name = f"--{option[2:].replace('_', '-')}{dot}{part}"
    option, dot, part = name.partition(".")
    return f"{RENAMED.get(option, option)}{dot}{part}", sign, value


def _check(name: str, value: str) -> None:
    if name in MUST_BE and value != MUST_BE[name]:
        message = f"{name} {value} is not supported: only {MUST_BE[name]} is"
        raise CommandError(message, exit_code=USAGE)


def _put(target: dict[str, Any], path: str, text: str) -> None:
    """Set a part of an object; what is JSON is taken as such, all else as text."""
    *outer, last = path.split(".")
    for name in outer:
        target = target.setdefault(name, {})
    try:
        target[last] = json.loads(text)
    except ValueError:
        target[last] = text
