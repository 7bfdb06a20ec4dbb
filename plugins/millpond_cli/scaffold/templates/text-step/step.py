"""The text step addon_name."""

from millpond.pipeline.io_processor import Call
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt


class AddonName(TextStep):
    """Removes the lines of a text that begin with ">"."""

    def on_prompt(self, prompt: Prompt, call: Call) -> None:  # noqa: ARG002  other steps read options of the call
        """Change a text before it is tokenized; the prompt has no text if the caller passed token ids."""
        if prompt.text is not None:
            lines = prompt.text.splitlines()
            prompt.text = "\n".join(line for line in lines if not line.startswith(">"))
