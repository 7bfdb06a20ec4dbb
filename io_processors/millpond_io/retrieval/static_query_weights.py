"""Sparse query vectors without the model: each token has a static weight (arXiv 2411.04403)."""

from dataclasses import replace

import numpy as np

from millpond.context import Context
from millpond.engine.request import PoolingRequest, Representation
from millpond.loading.modules import load_module
from millpond.model.spec import ModuleSettings
from millpond.pipeline.io_processor import Call
from millpond_io.prompts import Prompt
from millpond_io.retrieval.late_interaction import input_type
from millpond_io.text.prompt_tokenizer import TokenizedPrompt

QUERY = "query"
MAX_ACTIVE_DIMS = "max_active_dims"


class StaticQueryWeights:
    """Computes query vectors from a weight for each token of the vocabulary."""

    def __init__(self, ctx: Context, module: ModuleSettings) -> None:
        self.weights = load_module(ctx, module).get_buffer("weight").float().cpu().numpy()
        self.max_active_dims = ctx.model.embedding.max_active_dims

    def prepared(self, prompt: Prompt) -> Prompt:
        """Return the query without special tokens."""
        return replace(prompt, add_special_tokens=False)

    def sequence(self, rendered: TokenizedPrompt, task: str, call: Call) -> PoolingRequest:
        """Return a sequence with its result: the weights of the tokens in the query, zero elsewhere, [vocab_size]."""
        vector = np.zeros_like(self.weights)
        vector[rendered.input_ids] = self.weights[rendered.input_ids]
        max_active_dims = getattr(call.options, MAX_ACTIVE_DIMS, None) or self.max_active_dims
        if isinstance(max_active_dims, int) and max_active_dims < len(vector):
            vector[np.argsort(-np.abs(vector), kind="stable")[max_active_dims:]] = 0
        return PoolingRequest(
            input_ids=rendered.input_ids,
            representations=(Representation(task, call.params),),
            num_dropped_tokens=rendered.num_dropped_tokens,
            results=[vector],
            is_ready=True,
        )


def static_query_weights(ctx: Context) -> StaticQueryWeights | None:
    """Return the static weights of a model; None if it has none."""
    module = ctx.model.retrieval.static_query_weights
    return None if module is None else StaticQueryWeights(ctx, module)


def by_table(weights: StaticQueryWeights | None, call: Call) -> StaticQueryWeights | None:
    """Return the static weights if the prompts of a call are queries, otherwise None."""
    return weights if weights is not None and input_type(call.options) == QUERY else None
