"""Budget: how many tokens a batch may have; fewer once memory has run out, and slowly as many as before."""

from math import ceil

SMALLEST_BUDGET = 256  # tokens; out of memory does not halve the budget further
RAISE = 1.25
SOON, LATE = 64, 4096  # batches without a failure before the budget is raised: at first, and at most


class Budget:
    """The tokens of a batch.

    What took the memory may be gone a minute later, or never. So the budget is raised a step whenever enough batches
    have succeeded, and takes twice as many of them after each step that was one too many.

    Attributes:
        most: What was configured.
        tokens: What holds at present.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.tokens = most
        self._needed = SOON
        self._succeeded = 0
        self._was_raised = False

    def shrink(self, tokens: int) -> None:
        """Allow no more than so many; batches that fail side by side do it once, and none makes them larger.

        Args:
            tokens: Half of the batch that was too large.
        """
        self._succeeded = 0
        smaller = min(self.tokens, max(tokens, SMALLEST_BUDGET))
        if smaller == self.tokens:
            return
        self.tokens = smaller
        if self._was_raised:
            self._needed = min(2 * self._needed, LATE)
            self._was_raised = False

    def succeed(self) -> None:
        """Note a batch that was computed."""
        if self.tokens >= self.most:
            return
        self._succeeded += 1
        if self._succeeded < self._needed:
            return
        self._succeeded = 0
        self._was_raised = True
        self.tokens = min(self.most, ceil(RAISE * self.tokens))
