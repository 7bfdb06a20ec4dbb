"""ModelArg: the declaration of one option of a model."""

from dataclasses import dataclass
from typing import Any, Literal

Group = Literal["files", "settings", "computing", "running", "processor", "server"]


@dataclass(frozen=True)
class ModelArg:
    """The declaration of one option, in addition to its name and type.

    Attributes:
        default: The default value.
        description: One or two sentences, in Markdown.
        python: A sentence on values that only Python can pass.
        group: The commands that have the option: "files" for all that read a checkpoint, "settings" for all except
            ``bench``, "computing" for all except ``inspect``, "running" for those that compute results, "processor" for
            ``encode`` and ``serve``, "server" for ``serve``; None for Python only.
        panel: The heading of the option in the help of a command.
        metavar: The name of its value in the help; "N" for an integer, "JSON" for an object.
        options: The spellings on the command line; by default ``--name-with-dashes``.
        least: The minimum value.
        repeats: True if the option may be given several times.
        shown: The default as text, if the value does not show it.
        see: The title of a page with details, and its file in docs/.
    """

    default: Any
    description: str
    python: str = ""
    group: Group | None = "running"
    panel: str = "Model"
    metavar: str | None = None
    options: tuple[str, ...] = ()
    least: int | None = None
    repeats: bool = False
    shown: str | None = None
    see: tuple[str, str] | None = None
