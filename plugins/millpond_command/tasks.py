"""The task that an option names, checked before torch is imported."""

from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import Entry
from millpond.plugin.specs import TaskSpec
from millpond.types.errors import UnknownNameError
from millpond_command.cli import USAGE, CommandError


def task_named(name: str, option: str) -> Entry[TaskSpec]:
    """Return the task with this name.

    Args:
        name: The name.
        option: The option that states it, for the message.

    Raises:
        CommandError: No plugin provides it; the message suggests similar names.
    """
    try:
        return get_plugin_manager().registry.tasks.get(name)
    except UnknownNameError as error:
        raise CommandError(f"{option} {name!r}: {error}", exit_code=USAGE) from error
