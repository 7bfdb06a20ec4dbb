"""The steps of a comparison on stderr: a line for each, and the progress over the inputs of all of them."""

from millpond_command.cli import echo_stderr
from millpond_command.progress import Progress


class Steps:
    """Reports the steps of a comparison.

    Args:
        shown: True to show lines and progress; None to show progress only on a terminal; False for neither.
    """

    def __init__(self, *, shown: bool | None) -> None:
        self._shown = shown

    def begin(self, step: str) -> None:
        """Print the name of a step."""
        if self._shown is not False:
            echo_stderr(f"{step} ...")

    def progress(self, num_inputs: int) -> Progress:
        """Return the progress of the computation of a number of inputs, by all sides together."""
        return Progress(shown=self._shown, total=lambda: num_inputs, unit="inputs")
