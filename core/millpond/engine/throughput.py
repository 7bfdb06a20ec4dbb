"""Throughput: how many tokens a second an engine computes while it computes, measured on its latest batches."""

REMEMBERED = 0.9  # of what is known so far, a batch; about the latest ten batches count


class Throughput:
    """Tokens a second of the time in which at least one batch ran; batches may overlap.

    Attributes:
        rate: Tokens a second; 0.0 until a batch has ended.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._tokens = 0.0
        self._seconds = 0.0
        self._last = float("-inf")

    def note(self, tokens: int, *, began: float, ended: float) -> None:
        """Take in a batch.

        Args:
            tokens: The tokens it computed.
            began: When it was started, by a clock in seconds.
            ended: When it ended, by the same clock; no earlier than that of the batch before.
        """
        self._tokens = REMEMBERED * self._tokens + tokens
        self._seconds = REMEMBERED * self._seconds + max(ended - max(began, self._last), 0.0)
        self._last = ended
        if self._seconds > 0:
            self.rate = self._tokens / self._seconds

    def seconds_for(self, tokens: float) -> float:
        """How long so many tokens will take; 0.0 where nothing is known yet."""
        return tokens / self.rate if self.rate > 0 else 0.0
