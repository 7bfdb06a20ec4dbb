"""Registers the built-in poolers and activations."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ActivationSpec, PoolerSpec

SEQUENCE_TASKS = ("embed", "classify")
TOKEN_TASKS = ("token_embed", "token_classify")
TORCH_ACTIVATIONS = (  # the names of their classes in torch.nn, in lower case
    ("celu", "continuously differentiable exponential linear unit"),
    ("elu", "exponential linear unit"),
    ("hardshrink", "values between -0.5 and 0.5 to 0"),
    ("hardsigmoid", "piecewise linear sigmoid"),
    ("hardswish", "value times its hard sigmoid"),
    ("hardtanh", "values limited to -1 and 1"),
    ("leakyrelu", "negative values divided by 100"),
    ("logsigmoid", "logarithm of the sigmoid"),
    ("logsoftmax", "to logarithms of probabilities"),
    ("mish", "value times the hyperbolic tangent of its softplus"),
    ("relu6", "values limited to 0 and 6"),
    ("rrelu", "randomized leaky ReLU, with its mean slope"),
    ("selu", "scaled exponential linear unit"),
    ("softmin", "to probabilities of the negated values"),
    ("softplus", "smooth ReLU"),
    ("softshrink", "values moved towards 0 by 0.5"),
    ("softsign", "value divided by 1 plus its absolute value"),
    ("tanhshrink", "value minus its hyperbolic tangent"),
)


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    """Register the pooling types of sentence-transformers and its sparse encoders, ALL, and STEP."""
    for name, target, summary in (
        ("CLS", "FirstTokenPooling", "the first token"),
        ("LAST", "LastTokenPooling", "the last token"),
        ("MEAN", "MeanPooling", "the mean of all tokens"),
        ("MAX", "MaxPooling", "the maximum of each dimension"),
        ("MEAN_SQRT_LEN", "MeanSqrtLenPooling", "the sum of all tokens divided by the square root of their number"),
        ("WEIGHTED_MEAN", "WeightedMeanPooling", "the mean of all tokens, weighted by position"),
    ):
        yield PoolerSpec(name=name, target=f"millpond_poolers.methods:{target}", summary=summary, tasks=SEQUENCE_TASKS)
    for name, target, summary in (
        ("SPLADE_MAX", "SpladePooling", "a weight for each vocabulary token: the maximum of log(1 + relu(logit))"),
        ("SPLADE_SUM", "SpladeSumPooling", "a weight for each vocabulary token: the sum of log(1 + relu(logit))"),
        (
            "SPLADE_MAX_LOG",
            "SpladeMaxLogPooling",
            "a weight for each vocabulary token: the maximum of log(1 + log(1 + relu(logit)))",
        ),
        (
            "SPLADE_SUM_LOG",
            "SpladeSumLogPooling",
            "a weight for each vocabulary token: the sum of log(1 + log(1 + relu(logit)))",
        ),
    ):
        yield PoolerSpec(
            name=name,
            target=f"millpond_poolers.splade:{target}",
            summary=summary,
            tasks=("embed",),
            size_key="vocab_size",
            activation="identity",
        )
    yield PoolerSpec(name="ALL", target="millpond_poolers.methods:AllTokens", summary="every token", tasks=TOKEN_TASKS)
    yield PoolerSpec(
        name="STEP", target="millpond_poolers.step:StepPooling", summary="the tokens that end a step", tasks=TOKEN_TASKS
    )


@hookimpl
def register_activations() -> Iterator[ActivationSpec]:
    """Register the activations that heads and checkpoints name."""
    for name, summary in (
        ("identity", "no change"),
        ("normalize", "to length 1"),
        ("softmax", "to probabilities over the last dimension"),
        ("sigmoid", "each value to a probability"),
        ("tanh", "hyperbolic tangent"),
        ("relu", "negative values to 0"),
        ("gelu", "Gaussian error linear unit"),
        ("silu", "sigmoid linear unit"),
    ):
        op = "normalize" if name == "normalize" else None
        yield ActivationSpec(name=name, target=f"millpond_poolers.activations:{name}", summary=summary, op=op)
    for name, summary in TORCH_ACTIVATIONS:
        yield ActivationSpec(name=name, target=f"millpond_poolers.torch_activations:{name}", summary=summary)
