"""The names in a new package, derived from one name."""

import keyword
import re
from dataclasses import dataclass
from functools import cached_property

from millpond_command.cli import USAGE, CommandError

PREFIX = "millpond"
VALID_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", re.IGNORECASE)


@dataclass(frozen=True)
class PackageNames:
    """The names of a package and of its component.

    Attributes:
        words: The words of the name, in lower case.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> "PackageNames":
        """Return the names for ``my-pooler`` or ``millpond-my-pooler``.

        Raises:
            CommandError: If the name cannot be the name of a package.
        """
        words = tuple(name.lower().replace("_", "-").split("-"))
        words = words[1:] if words[0] == PREFIX else words
        if not VALID_NAME.fullmatch(name) or not words or keyword.iskeyword("_".join(words)):
            message = (
                f"invalid name {name!r}: expected letters, digits and hyphens, starting with a letter, like 'ripple'"
            )
            raise CommandError(message, exit_code=USAGE)
        return cls(words)

    @property
    def distribution(self) -> str:
        """The name on PyPI, and of the folder."""
        return "-".join((PREFIX, *self.words))

    @property
    def component(self) -> str:
        """The name of the component and of the plugin, in lower case."""
        return "_".join(self.words)

    @cached_property
    def replacements(self) -> dict[str, str]:
        """The names that replace those in templates."""
        return {
            "addon-dist": self.distribution,
            "addon_package": f"{PREFIX}_{self.component}",
            "addon_name": self.component,
            "AddonName": "".join(word.capitalize() for word in self.words),
            "ADDON_NAME": self.component.upper(),
        }

    def fill(self, text: str) -> str:
        """Return a template, or its path, with these names."""
        return re.sub("|".join(self.replacements), lambda match: self.replacements[match[0]], text)
