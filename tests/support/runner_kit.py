"""Run requests on a runner."""

from queue import SimpleQueue


def on_worker(runner, *requests):
    """The outcome of a batch that a worker computes."""
    outcomes = SimpleQueue()
    runner.submit(list(requests), outcomes.put)
    return outcomes.get(timeout=120)
