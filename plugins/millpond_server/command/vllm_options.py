"""Translation of command lines written for vLLM to the options that ``millpond serve`` declares.

Independent of models, and quick to import.
"""

import json
import logging
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from typer.exceptions import TyperException

from millpond_command.cli import USAGE, CommandError, echo_stderr
from millpond_command.declare import GroupedCommand
from millpond_command.model_arguments import OBJECTS, option_of
from millpond_vllm import arguments as vllm
from millpond_vllm.argument import Argument

# Options whose value is a JSON object that can be passed in parts: --pooler-config.task embed
JSON_OPTIONS = frozenset(map(option_of, OBJECTS))
# Options that take all words up to the next option.
LIST_OPTIONS = frozenset(
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
MODEL_OPTION = "--model"  # the model, in older command lines
RENAMED = {
    "--kernels": "--kernel",
    "--allowed-origins": "--cors-origin",
    "--shutdown-timeout": "--drain-timeout",
    **vllm.SHORT_OPTIONS,
    **{option_of(old): option_of(new) for old, new in vllm.RENAMED.items()},
}
# Negated flags of vLLM that request the default.
NEGATED_FLAGS = frozenset({"--no-skip-tokenizer-init", "--no-trust-remote-code", "--no-trust-request-chat-template"})
LOWERS = {option_of(name): option_of(lowered) for name, lowered in vllm.LOWERS.items()}
LOG_LEVEL_OPTION = option_of(vllm.LOG_LEVEL)
OPTIMIZATION_LEVEL = re.compile(r"-O\.?(\d)")  # -O3, the short form of --optimization-level 3


@dataclass
class TranslatedCommandLine:
    """A command line in the options of ``millpond serve``.

    Attributes:
        words: Its words.
        without_effect: The options that were removed because they have no effect here.
        revision: The model revision that it specifies, if any.
        log_level: The level of log messages that it specifies, if any.
        lowered: The largest values that it allows for options, by their declared names.
    """

    words: list[str] = field(default_factory=list)
    without_effect: list[str] = field(default_factory=list)
    revision: str | None = None
    log_level: int | None = None
    lowered: dict[str, int] = field(default_factory=dict)


def translate(words: Sequence[str]) -> TranslatedCommandLine:
    """Translate a command line to the declared options.

    Long options may contain underscores instead of dashes, and dots for parts of an object; some take several words.

    Raises:
        CommandError: If an option lacks its value, or requests an unsupported feature.
    """
    result = TranslatedCommandLine(revision=_revision(words))
    objects: dict[str, dict[str, Any]] = {}
    for name, value in _options(deque(words), result):
        option, _, part = name.partition(".")
        if part:
            _put(objects.setdefault(option, {}), part, value)
        else:
            result.words.append(f"{name}={value}")
    for option, parts in objects.items():
        if any(word.startswith(f"{option}=") for word in result.words):
            message = f"{option} is passed both as a whole and in parts"
            raise CommandError(message, exit_code=USAGE)
        result.words.append(f"{option}={json.dumps(parts)}")
    for option, limit in result.lowered.items():
        _lower(result.words, option, limit)
    return result


def _options(remaining: deque[str], result: TranslatedCommandLine) -> Iterator[tuple[str, str]]:
    """Yield list options and JSON options, one per value; add all other words to the result."""
    while remaining:
        word = remaining.popleft()
        name, sign, value = _split(word)
        argument = vllm.option(name.partition(".")[0])
        if argument is not None:
            _consume(*argument, name=name, value=value if sign else None, remaining=remaining, result=result)
        elif name in NEGATED_FLAGS:
            continue
        elif name in LIST_OPTIONS or name.partition(".")[0] in JSON_OPTIONS:
            yield name, value if sign else _next(remaining, word)
            while name in LIST_OPTIONS and not sign and remaining and not remaining[0].startswith("-"):
                yield name, remaining.popleft()
        elif name in LOWERS:
            result.lowered[LOWERS[name]] = _limit(name, value if sign else _next(remaining, word))
        elif name == LOG_LEVEL_OPTION:
            result.log_level = _log_level(value if sign else _next(remaining, word))
        elif name == MODEL_OPTION:
            result.words.append(value if sign else _next(remaining, word))
        else:
            result.words.append(f"{name}{sign}{value}")


def _revision(words: Sequence[str]) -> str | None:
    """Return the model revision in a command line; --tokenizer-revision is accepted if it is the same."""
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name == "--revision":
            return value if sign else next(iter(words[index + 1 :]), None)
    return None


def _next(remaining: deque[str], word: str) -> str:
    if not remaining:
        message = f"{word} needs a value"
        raise CommandError(message, exit_code=USAGE)
    return remaining.popleft()


def _split(word: str) -> tuple[str, str, str]:
    """Split a word into the declared name of the option, the equals sign if it has one, and the value after it."""
    if not word.startswith("-"):
        return word, "", ""
    if level := OPTIMIZATION_LEVEL.fullmatch(word):
        return RENAMED["-O"], "=", level[1]
    name, sign, value = word.partition("=")
    if name.startswith("--"):
        option, dot, part = name.partition(".")
        name = f"--{option[2:].replace('_', '-')}{dot}{part}"
    option, dot, part = name.partition(".")
    return f"{RENAMED.get(option, option)}{dot}{part}", sign, value


def _consume(
    argument: Argument,
    positive: bool,
    *,
    name: str,
    value: str | None,
    remaining: deque[str],
    result: TranslatedCommandLine,
) -> None:
    """Remove an option that only vLLM has, with its values, from a command line.

    Raises:
        CommandError: If it lacks its value, or requests an unsupported feature.
    """
    texts = [] if value is None else [value]
    if value is None and argument.form != "flag":
        texts.append(_next(remaining, name))
        while argument.form == "list" and remaining and not remaining[0].startswith("-"):
            texts.append(remaining.popleft())
    shown = " ".join([name, *texts])
    if "." in name:  # a part of an object; its other parts have their defaults
        parsed: object = {name.partition(".")[2]: vllm.value_of(texts[0])}
    elif argument.form == "flag":
        parsed = positive if not texts else vllm.value_of(texts[0])
    else:
        parsed = vllm.value_of(texts[0]) if len(texts) == 1 else texts
    if argument.asks(parsed, {"revision": result.revision}):
        raise CommandError(argument.refusal(shown), exit_code=USAGE)
    if not argument.is_quiet(parsed):
        result.without_effect.append(shown)


def _limit(name: str, text: str) -> int:
    limit = vllm.lower_of(vllm.value_of(text), None)
    if limit is None:
        message = f"{name} {text}: expected a whole number of at least 1"
        raise CommandError(message, exit_code=USAGE)
    return limit


def _log_level(text: str) -> int:
    try:
        return vllm.log_level(text)
    except ValueError as error:
        message = f"{LOG_LEVEL_OPTION}: {error}"
        raise CommandError(message, exit_code=USAGE) from None


def _lower(words: list[str], option: str, limit: int) -> None:
    """Replace larger values of an option by a limit, and add the option if it is missing."""
    for index, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name != option:
            continue
        at = index if sign else index + 1
        text = value if sign else "".join(words[at : at + 1])
        if text.isascii() and text.isdigit() and int(text) > limit:
            words[at] = f"{option}={limit}" if sign else str(limit)
        return
    end = words.index("--") if "--" in words else len(words)
    words.insert(end, f"{option}={limit}")


def _put(target: dict[str, Any], path: str, text: str) -> None:
    """Set a part of an object to a value in JSON, or to the text itself if it is not JSON."""
    *outer, last = path.split(".")
    for name in outer:
        target = target.setdefault(name, {})
    try:
        target[last] = json.loads(text)
    except ValueError:
        target[last] = text


class VllmCompatibleCommand(GroupedCommand):
    """A command that accepts command lines written for vLLM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Translate and parse a command line; options without effect are listed in a note."""
        translated = translate(args)
        if translated.without_effect and not ctx.resilient_parsing:
            echo_stderr(f"note: without effect here: {', '.join(translated.without_effect)}")
        if translated.log_level is not None and not ctx.resilient_parsing:
            logging.getLogger().setLevel(translated.log_level)
        try:
            return super().parse_args(ctx, translated.words)
        except TyperException as error:
            unknown = getattr(error, "option_name", None)
            if unknown is not None and not getattr(error, "possibilities", True):
                vars(error)["possibilities"] = get_close_matches(unknown, vllm.options(), cutoff=0.75)
            raise
