"""A tiny model, and components that replace its parts, for tests of errors that name a component."""

from millpond import LLM, PoolingParams
from millpond.nn import Pooler

PROMPTS = [[7], [7, 8, 9]]  # the first is a batch of one token where it is computed alone


class Fixed(Pooler):
    """Returns what ``give`` makes of the hidden states and the lengths."""

    @staticmethod
    def give(rows, lengths):
        raise NotImplementedError

    def pool(self, hidden_states, metadata):
        return self.give(hidden_states, metadata.lengths)


def pooler(give):
    """A pooler that returns what a function makes of the hidden states and the lengths."""
    return type("Given", (Fixed,), {"give": staticmethod(give)})


def fails(*_, **options):
    raise RuntimeError("no licence")


def load(folder, manager, *records, **more):
    """The model, with records of the plugin "acme"."""
    for record in records:
        manager.register(record, plugin="acme")
    return LLM(folder, plugins=manager, num_workers=1, **more)


def errors_of(llm, prompts=PROMPTS, task="embed"):
    """The message for each prompt; None for one that is served."""
    outputs = llm.encode(prompts, PoolingParams(), pooling_task=task, on_error="return", use_tqdm=False)
    return [None if output.error is None else str(output.error) for output in outputs]
