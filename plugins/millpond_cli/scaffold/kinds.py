"""The kinds of plugin packages that can be written."""

from enum import StrEnum

from millpond_cli.choices import unknown_choice


class Kind(StrEnum):
    """A kind of component that a new package provides; the folder of its templates has the same name."""

    ARCHITECTURE = "architecture"
    POOLER = "pooler"
    ACTIVATION = "activation"
    IO_PROCESSOR = "io-processor"
    TEXT_STEP = "text-step"
    TASK = "task"
    KERNEL = "kernel"
    ROUTE = "route"
    COMMAND = "command"
    SOURCE = "source"
    FORMAT = "format"

    @classmethod
    def named(cls, name: str) -> "Kind":
        """Return the kind of a name.

        Raises:
            CommandError: If the name is unknown.
        """
        if name not in list(cls):
            raise unknown_choice("--kind", name, [it.value for it in cls])
        return cls(name)

    @property
    def catalog(self) -> str:
        """The kind of its records in the registry."""
        return "checkpoint_format" if self is Kind.FORMAT else self.value.replace("-", "_")

    @property
    def requirement(self) -> str:
        """Millpond with the extras that the package needs."""
        return "millpond[serve]" if self is Kind.ROUTE else "millpond"

    def record_name(self, component: str) -> str:
        """Return the name of its record."""
        patterns = {
            Kind.ARCHITECTURE: "".join(word.capitalize() for word in component.split("_")) + "Model",
            Kind.POOLER: component.upper(),
            Kind.KERNEL: f"rms_norm.{component}",
            Kind.ROUTE: f"POST /v1/{component}",
        }
        return patterns.get(self, component)
