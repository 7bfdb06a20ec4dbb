"""A command that takes the spellings of vLLM."""

from difflib import get_close_matches
from typing import Any

from typer.exceptions import TyperException

from millpond.compat import vllm
from millpond_command.cli import say
from millpond_command.declare import GroupedCommand
from millpond_server.command.vllm_options import respell


class RespelledCommand(GroupedCommand):
    """A command that understands command lines as people write them for vLLM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Respell what was typed, tell of what means nothing here, and parse it."""
        made = respell(args)
        if made.without_effect and not ctx.resilient_parsing:
            say(f"note: without effect here: {', '.join(made.without_effect)}")
        try:
            return super().parse_args(ctx, made.words)
        except TyperException as error:
            unknown = getattr(error, "option_name", None)
            if unknown is not None and not getattr(error, "possibilities", True):
                vars(error)["possibilities"] = get_close_matches(unknown, vllm.options(), cutoff=0.75)
            raise
