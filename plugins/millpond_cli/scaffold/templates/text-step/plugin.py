"""Registers the components of this package."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond_text.kinds import TextStepSpec

MILLPOND_API = 1


@hookimpl
def register_text_steps() -> Iterator[TextStepSpec]:
    """Register the text step addon_name."""
    yield TextStepSpec(
        name="addon_name",
        target="addon_package.step:AddonName",
        summary="removes quoted lines of mails",
        after="chat_template",
    )
