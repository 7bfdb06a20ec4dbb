"""The pooling types of the Pooling and SpladePooling modules of sentence-transformers."""

from pathlib import Path

from millpond.model.spec import ModuleSettings
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import POOLED, STATIC, TRANSFORMERS, reads

SPLADE = "SpladePooling"
POOLING_TYPES = {
    "cls": "CLS",
    "cls_token": "CLS",
    "lasttoken": "LAST",
    "max": "MAX",
    "max_tokens": "MAX",
    "mean": "MEAN",
    "mean_tokens": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "weightedmean_tokens": "WEIGHTED_MEAN",
}
SPLADE_TYPES = {
    ("max", "relu"): "SPLADE_MAX",
    ("sum", "relu"): "SPLADE_SUM",
    ("max", "log1p_relu"): "SPLADE_MAX_LOG",
    ("sum", "log1p_relu"): "SPLADE_SUM_LOG",
}
# The order in which sentence-transformers concatenates modes that are set by the flags ``pooling_mode_...``.
FLAG_ORDER = {
    mode: index
    for index, mode in enumerate(
        ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    )
}


def check_splade(modules: tuple[ModuleSettings, ...], path: Path) -> None:
    """Check that the modules are a masked language model, SpladePooling, and optionally Normalize."""
    types = [module.type for module in modules]
    supported = types[:1] in [[name] for name in TRANSFORMERS] and types[1:2] == ["SpladePooling"]
    if not supported or set(types[2:]) - {"Normalize"}:
        message = (
            f"{path}: unsupported modules {', '.join(types)}. A model with SpladePooling must consist of a "
            "Transformer, SpladePooling and optionally Normalize. Ignoring other modules would change the results"
        )
        raise CheckpointError(message)
    for module in modules[2:]:
        if reads(module, POOLED) != POOLED:
            message = (
                f"{path} names a Normalize module that reads {module.config['module_input_name']!r}, not {POOLED!r}"
            )
            raise CheckpointError(message)


def splade_type(splade: ModuleSettings) -> str:
    """Return the pooling type of a SpladePooling module.

    Raises:
        CheckpointError: If its settings are not supported.
    """
    strategy, activation = (
        splade.config.get(key, default)
        for key, default in (("pooling_strategy", "max"), ("activation_function", "relu"))
    )
    pooling_type = (
        SPLADE_TYPES.get((strategy, activation)) if isinstance(strategy, str) and isinstance(activation, str) else None
    )
    if pooling_type is None:
        message = (
            f"{splade.path / 'config.json'}: unsupported pooling_strategy {strategy!r} with activation_function "
            f"{activation!r}. Supported: max and sum, with relu and log1p_relu"
        )
        raise CheckpointError(message)
    return pooling_type


def pooling_types(pooling: ModuleSettings) -> tuple[str, ...]:
    """Return the pooling types of a Pooling module, in the order in which their results are concatenated.

    Raises:
        CheckpointError: If a pooling type is not supported.
    """
    if pooling.type == STATIC:
        return ("MEAN",)
    named = pooling.config.get("pooling_mode")
    if named is not None:
        modes = named if isinstance(named, list) and named else [named]
    else:
        flags = [key for key, on in pooling.config.items() if key.startswith("pooling_mode_") and on is True]
        modes = [key.removeprefix("pooling_mode_") for key in flags]
        # If no flag is set, sentence-transformers uses the mean.
        modes = sorted(modes, key=lambda mode: FLAG_ORDER.get(mode, len(FLAG_ORDER))) or ["mean"]
    return tuple(_pooling_type(mode, pooling) for mode in modes)


def _pooling_type(mode: object, pooling: ModuleSettings) -> str:
    if not isinstance(mode, str) or mode not in POOLING_TYPES:
        message = (
            f"{pooling.path / 'config.json'}: unknown pooling mode {mode!r}. Available: "
            f"{', '.join(sorted(POOLING_TYPES))}. Choose a pooling type with pooler_config={{'pooling_type': ...}}"
        )
        raise CheckpointError(message)
    return POOLING_TYPES[mode]
