"""Command lines as people write them for vLLM, respelled as ``millpond serve`` declares its options.

Knows nothing of models, and imports nothing that takes time.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from typer.exceptions import TyperException

from millpond.compat import vllm
from millpond.compat.argument import Argument
from millpond_command.cli import USAGE, CommandError, echo_stderr
from millpond_command.declare import GroupedCommand
from millpond_command.model_arguments import OBJECTS, option_of

# --pooler-config.task embed, --hf-overrides.rope.theta 1e6: parts of a JSON object.
DOTTED = frozenset(map(option_of, OBJECTS))
# Options that take all the words up to the next option.
MANY = frozenset(
    {
        "--served-model-name",
        "--api-key",
        "--kernel",
        "--routes",
        "--cors-origin",
        "--allowed-host",
        "--allowed-media-domains",
    }
)
MODEL = "--model"  # the model itself, as older command lines name it
RENAMED = {
    "--override-pooler-config": "--pooler-config",
    "--kernels": "--kernel",
    "--allowed-origins": "--cors-origin",
    "--shutdown-timeout": "--drain-timeout",
    **vllm.SHORT,
    **{option_of(name): option_of(own) for name, own in vllm.RENAMED.items()},
}
# Options without a value that vLLM can negate: the default is what the negation asks for.
NEGATED = frozenset({"--no-skip-tokenizer-init", "--no-trust-remote-code", "--no-trust-request-chat-template"})
LEVEL = re.compile(r"-O\.?(\d)")  # -O3, the short form of --optimization-level 3


@dataclass
class Respelled:
    """A command line, respelled.

    Attributes:
        words: Its words.
        without_effect: The options that were taken out of it because they mean nothing here.
        revision: The revision of the model that it names, if any.
    """

    words: list[str] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)
    revision: str | None = None


def respell(words: Sequence[str]) -> Respelled:
    """Bring a command line into the spelling of the options that are declared.

    Long options may have underscores for dashes and dots for parts of an object; some take several words.

    Raises:
        CommandError: An option lacks its value, or asks for what there is not.
    """
    made = Respelled(revision=_revision(words))
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
        argument = vllm.option(name.partition(".")[0])
        if argument is not None:
            _take(*argument, name=name, stated=stated if sign else None, left=left, made=made)
        elif name in NEGATED:
            continue
        elif name in MANY or name.partition(".")[0] in DOTTED:
            yield name, stated if sign else _next(left, word)
            while name in MANY and not sign and left and not left[0].startswith("-"):
                yield name, left.popleft()
        elif name == MODEL:
            made.words.append(stated if sign else _next(left, word))
        else:
            made.words.append(f"{name}{sign}{stated}")


def _revision(words: Sequence[str]) -> str | None:
    """The revision that a command line names: that of the tokenizer may be the same."""
    for place, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name == "--revision":
            return value if sign else next(iter(words[place + 1 :]), None)
    return None


def _next(left: deque[str], word: str) -> str:
    if not left:
        message = f"{word} needs a value"
        raise CommandError(message, exit_code=USAGE)
    return left.popleft()


def _named(word: str) -> tuple[str, str, str]:
    """The name of an option as it is declared, the sign behind it if there is one, and the value behind that."""
    if not word.startswith("-"):
        return word, "", ""
    if level := LEVEL.fullmatch(word):
        return RENAMED["-O"], "=", level[1]
    name, sign, value = word.partition("=")
    if name.startswith("--"):
        option, dot, part = name.partition(".")
        name = f"--{option[2:].replace('_', '-')}{dot}{part}"
    option, dot, part = name.partition(".")
    return f"{RENAMED.get(option, option)}{dot}{part}", sign, value


def _take(
    argument: Argument, positive: bool, *, name: str, stated: str | None, left: deque[str], made: Respelled
) -> None:
    """Take an option of vLLM and its values out of a command line.

    Raises:
        CommandError: It lacks its value, or asks for what Millpond does not do.
    """
    texts = [] if stated is None else [stated]
    if stated is None and argument.form != "flag":
        texts.append(_next(left, name))
        while argument.form == "list" and left and not left[0].startswith("-"):
            texts.append(left.popleft())
    shown = " ".join([name, *texts])
    if "." in name:  # a part of an object, of which the rest has its defaults
        value: object = {name.partition(".")[2]: vllm.value_of(texts[0])}
    elif argument.form == "flag":
        value = positive if not texts else vllm.value_of(texts[0])
    else:
        value = vllm.value_of(texts[0]) if len(texts) == 1 else texts
    if argument.asks(value, {"revision": made.revision}):
        raise CommandError(argument.refusal(shown), exit_code=USAGE)
    if not argument.is_quiet(value):
        made.without_effect.append(shown)


def _put(target: dict[str, Any], path: str, text: str) -> None:
    """Set a part of an object; what is JSON is taken as such, all else as text."""
    *outer, last = path.split(".")
    for name in outer:
        target = target.setdefault(name, {})
    try:
        target[last] = json.loads(text)
    except ValueError:
        target[last] = text


class RespelledCommand(GroupedCommand):
    """A command that understands command lines as people write them for vLLM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Respell what was typed, tell of what means nothing here, and parse it."""
        made = respell(args)
        if made.without_effect and not ctx.resilient_parsing:
            echo_stderr(f"note: without effect here: {', '.join(made.without_effect)}")
        try:
            return super().parse_args(ctx, made.words)
        except TyperException as error:
            unknown = getattr(error, "option_name", None)
            if unknown is not None and not getattr(error, "possibilities", True):
                vars(error)["possibilities"] = get_close_matches(unknown, vllm.options(), cutoff=0.75)
            raise
