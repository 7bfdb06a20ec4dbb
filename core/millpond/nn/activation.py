"""CheckedActivation: wraps an activation of an external plugin, so that its errors name the plugin."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from millpond.plugin.blame import blamed, breach, described

if TYPE_CHECKING:
    from millpond.plugin.registry import Entry


class CheckedActivation:
    """Calls an activation, and checks that it returns a tensor with the shape of its input."""

    def __init__(self, entry: "Entry[Any]", function: Callable[[Tensor], Any]) -> None:
        self.entry = entry
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim].

        Raises:
            ComponentError: If the activation failed, or returned something else.
        """
        with blamed(self.entry):
            activated = self.function(x)
        if not isinstance(activated, Tensor) or activated.shape != x.shape:
            message = f"it returned {described(activated)}; expected a tensor {list(x.shape)}, the shape of its input"
            raise breach(self.entry, message)
        if not activated.is_floating_point() or activated.device != x.device:
            message = f"it returned {described(activated)} of {activated.dtype} on {activated.device}"
            raise breach(self.entry, f"{message}; expected floating-point numbers on {x.device}")
        return activated.clone()  # it may use its memory for the next batch
