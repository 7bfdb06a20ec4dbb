"""Values that shells complete, such as models and tasks, by the placeholder of an option or argument.

Imports neither torch nor the packages that run models: a shell waits for the result.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from millpond.plugin.manager import get_plugin_manager
from millpond_command.kinds import CommandSpec

MODEL_FILES: Final = ("config.json", "modules.json")
CACHED: Final = "models--"


def models(incomplete: str) -> list[str]:
    """Return folders of models, models in the Hugging Face Hub's cache, and models that plugins know by name."""
    known = get_plugin_manager().registry.published_models.names()
    names = [*_folders(incomplete), *sorted(_cached()), *(name for name in known if "*" not in name)]
    return list(dict.fromkeys(names))


def tasks() -> list[str]:
    """Return the pooling tasks."""
    return list(get_plugin_manager().registry.tasks.names())


def commands() -> list[str]:
    """Return the commands."""
    return list(get_plugin_manager().registry[CommandSpec].names())


def plugins() -> list[str]:
    """Return the plugins."""
    return [info.name for info in get_plugin_manager().plugins()]


def dtypes() -> list[str]:
    """Return the names of dtypes."""
    return ["auto", "bfloat16", "float16", "float32"]


def devices() -> list[str]:
    """Return the kinds of devices."""
    return ["auto", "cpu", "cuda"]


BY_METAVAR: Final[Mapping[str, Callable[..., list[str]]]] = {
    "MODEL": models,
    "TASK": tasks,
    "COMMAND": commands,
    "PLUGIN": plugins,
    "DTYPE": dtypes,
    "DEVICE": devices,
}
"""The function that returns the values of an option or argument, by its placeholder in the help."""


def repair_zsh_script(program: str) -> None:
    """Let the first Tab in a new zsh complete a word.

    Zsh loads the installed script at the first Tab. The script of typer only defines a function then; it does not call
    it.
    """
    script = Path.home() / ".zfunc" / f"_{program}"
    call = f'[[ $funcstack[1] == _{program} ]] && _{program}_completion "$@"'
    with suppress(OSError):
        text = script.read_text(encoding="utf-8")
        if call not in text:
            script.write_text(f"{text.rstrip()}\n\n{call}\n", encoding="utf-8")


def _folders(incomplete: str) -> Iterator[str]:
    """Yield the folders whose path begins with a text and which contain a model."""
    start = Path(incomplete).expanduser()
    parent = start if incomplete.endswith(("/", os.sep)) else start.parent
    prefix = incomplete[: incomplete.rfind("/") + 1]
    try:
        entries = sorted(parent.iterdir())
    except OSError:
        return
    for entry in entries:
        if any((entry / name).is_file() for name in MODEL_FILES):
            yield f"{prefix}{entry.name}"


def _cached() -> Iterator[str]:
    """Yield the names of the models in the Hugging Face Hub's cache."""
    from huggingface_hub import constants  # noqa: PLC0415  needed by completion only

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    for entry in cache.glob(f"{CACHED}*") if cache.is_dir() else ():
        yield entry.name.removeprefix(CACHED).replace("--", "/")
