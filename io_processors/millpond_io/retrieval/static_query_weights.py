"""StaticQueryWeights: the step that computes query vectors without the model, from a static weight for each token.

Geng et al. 2024, arXiv 2411.04403, section 4.
"""

import numpy as np

from millpond.context import TaskContext
from millpond.loading.modules import load_module
from millpond.model.spec import ModuleSettings
from millpond.pipeline.io_processor import Call
from millpond_io.retrieval.input_types import input_type
from millpond_text.kinds import TextStep
from millpond_text.prompt import Prompt, TextJob

QUERY = "query"
MAX_ACTIVE_DIMS = "max_active_dims"


class StaticQueryWeights(TextStep):
    """Computes query vectors from a weight for each token of the vocabulary."""

    reads_input_type = True

    def __init__(self, ctx: TaskContext, module: ModuleSettings) -> None:
        super().__init__(ctx)
        self.weights = load_module(ctx, module).get_buffer("weight").float().cpu().numpy()
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def on_prompt(self, prompt: Prompt, call: Call) -> None:
        """Tokenize a query without special tokens."""
        if input_type(call.options) == QUERY:
            prompt.add_special_tokens = False

    def on_tokens(self, job: TextJob) -> None:
        """Set the result of a query: the weights of its tokens, zero elsewhere, [vocab_size]."""
        if input_type(job.call.options) != QUERY:
            return
        (sequence,) = job.sequences
        vector = np.zeros_like(self.weights)
        vector[sequence.input_ids] = self.weights[sequence.input_ids]
        max_active_dims = getattr(job.call.options, MAX_ACTIVE_DIMS, None) or self.max_active_dims
        if isinstance(max_active_dims, int) and max_active_dims < len(vector):
            vector[np.argsort(-np.abs(vector), kind="stable")[max_active_dims:]] = 0
        sequence.results, sequence.is_ready = [vector], True


def static_query_weights(ctx: TaskContext) -> StaticQueryWeights | None:
    """Return the step of a model; None if it has no static weights."""
    module = ctx.model.retrieval.static_query_weights
    return None if module is None else StaticQueryWeights(ctx, module)
