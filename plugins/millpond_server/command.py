"""A command that takes the spellings of vLLM."""

from typing import Any

from millpond.cli import say
from millpond.declare import GroupedCommand
from millpond_server.spelling import respell


class RespelledCommand(GroupedCommand):
    """A command that understands command lines as people write them for vLLM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Respell what was typed, tell of what means nothing here, and parse it."""
        made = respell(args)
        if made.without_effect and not ctx.resilient_parsing:
            say(f"note: without effect here: {', '.join(made.without_effect)}")
        return super().parse_args(ctx, made.words)
