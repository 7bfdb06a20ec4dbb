"""The options of Daft's functions: those of the function, of the call, and of the model."""

# pyright: reportMissingImports=false
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daft.ai.typing import UDFOptions
from daft.ai.utils import get_gpu_udf_options

from millpond_recipes.recipe import Recipe

UDF_NAMES = tuple(UDFOptions.__dataclass_fields__)
RECIPE_NAMES = ("revision", "prompt", "prompt_name", "input_type", "embed_dtype", "on_overflow")
ON_ERROR = ("raise", "log", "ignore")


@dataclass(frozen=True)
class Work:
    """A recipe, and the options of the function that computes it.

    Attributes:
        provider: The name of the provider.
        recipe: The description of the work.
        udf: The options of Daft's function that the caller passed.
        label_template: The text that an embedding model reads for a label, which replaces ``{}``.
    """

    provider: str
    recipe: Recipe
    udf: Mapping[str, Any]
    label_template: str = "{}"

    @property
    def on_error(self) -> str:
        """The treatment of rows that fail: "raise", "log" or "ignore"."""
        return str(self.udf.get("on_error", "raise"))

    def udf_options(self) -> UDFOptions:
        """Return the options of Daft's function.

        There is one process per GPU. Without GPUs, all threads of a process share one loaded model. Errors are not
        repeated: the same input fails again.
        """
        options = get_gpu_udf_options()
        options.max_retries = 0
        for name, value in self.udf.items():
            setattr(options, name, value)
        return options


def read_work(
    provider: str, model: str | None, options: Mapping[str, Any], batch_size: int | None = None, /, **recipe: Any
) -> Work:
    """Return the work that a call of a function describes.

    Args:
        provider: The name of the provider.
        model: The model, as passed by the caller.
        options: The options of the provider and of the call.
        batch_size: The default number of rows of a batch; None for Daft's.
        **recipe: Other fields of the recipe.

    Raises:
        ValueError: If there is no model, or an option is unknown or invalid.
    """
    if model is None:
        raise ValueError("The provider of Millpond has no default model: pass model=...")
    udf = {"batch_size": batch_size, **{name: options[name] for name in UDF_NAMES if name in options}}
    on_error = udf.get("on_error", "raise")
    if on_error not in ON_ERROR:
        raise ValueError(f"Unknown on_error {on_error!r}. Available: {', '.join(ON_ERROR)}.")
    fields = {name: options[name] for name in RECIPE_NAMES if name in options}
    fields |= {"on_error": "raise" if on_error == "raise" else "null", **recipe}
    args = {name: value for name, value in options.items() if name not in {*UDF_NAMES, *RECIPE_NAMES}}
    return Work(provider, Recipe(model=model, args=args, **fields), udf)
