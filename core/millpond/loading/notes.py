"""Warnings about a loaded model that behaves differently from what its files or the caller's options suggest."""

from typing import TYPE_CHECKING

from millpond.types.config import InputOptions

if TYPE_CHECKING:
    from millpond.model.model_layers import ModelLayers
    from millpond.model.options import LoadOptions


def notes_on(layers: "ModelLayers", options: "LoadOptions") -> list[str]:
    """Return the notes on a model, in the order in which they are logged.

    Args:
        layers: What is stated about the model.
        options: The caller's options.
    """
    return [
        *_unapplied_prompt(layers, options.inputs),
        *layers.repository.reader.notes(layers.model, layers, options),
        *_unused_image_options(layers, options.inputs),
    ]


def _unapplied_prompt(layers: "ModelLayers", inputs: InputOptions) -> list[str]:
    """A note if the default prompt is not applied, or if it is requested but the model has none."""
    name = layers.model.prompting.default_name
    prompt = layers.model.prompting.prompts.get(name or "")
    if inputs.apply_default_prompt:
        reason = "the model has no default prompt" if name is None else f"its default prompt {name!r} does not exist"
        return [] if prompt is not None else [f"apply_default_prompt=True has no effect: {reason}"]
    if not prompt:
        return []
    note = (
        f"the default prompt {name!r} ({prompt!r}) is not applied: apply_default_prompt=True applies it to all calls, "
        f"prompt_name={name!r} to a single call"
    )
    return [note]


def _unused_image_options(layers: "ModelLayers", inputs: InputOptions) -> list[str]:
    """A note if the caller passed image options and the model has none."""
    spec = layers.architecture.spec
    if not inputs.mm_processor_kwargs or spec.extras.image_processor is not None:
        return []
    names = ", ".join(map(repr, inputs.mm_processor_kwargs))
    return [f"mm_processor_kwargs {names} has no effect: {spec.name} has no image options"]
