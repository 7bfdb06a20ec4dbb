"""Further activations of torch.nn for Dense modules, with their default arguments: [..., dim] -> [..., dim].

Each is named like its class in torch.nn, in lower case. Results do not depend on the batch, bit for bit.
"""

from torch import Tensor
from torch.nn import functional

from millpond_poolers.activations import in_float64

RRELU_SLOPE = (1 / 8 + 1 / 3) / 2  # the slope in evaluation mode: the mean of the lower and upper bound


def celu(x: Tensor) -> Tensor:
    """Return the continuously differentiable exponential linear unit of each value."""
    return in_float64(functional.celu, x)


def elu(x: Tensor) -> Tensor:
    """Return the exponential linear unit of each value."""
    return in_float64(functional.elu, x)


def hardshrink(x: Tensor) -> Tensor:
    """Replace values between -0.5 and 0.5 by 0."""
    return functional.hardshrink(x)


def hardsigmoid(x: Tensor) -> Tensor:
    """Return the piecewise linear approximation of the sigmoid of each value."""
    return in_float64(functional.hardsigmoid, x)


def hardswish(x: Tensor) -> Tensor:
    """Multiply each value by its hard sigmoid."""
    return in_float64(functional.hardswish, x)


def hardtanh(x: Tensor) -> Tensor:
    """Limit each value to the range from -1 to 1."""
    return functional.hardtanh(x)


def leakyrelu(x: Tensor) -> Tensor:
    """Divide negative values by 100."""
    return in_float64(functional.leaky_relu, x)


def logsigmoid(x: Tensor) -> Tensor:
    """Return the logarithm of the sigmoid of each value."""
    return in_float64(functional.logsigmoid, x)


def logsoftmax(x: Tensor) -> Tensor:
    """Return the logarithms of probabilities over the last dimension."""
    return in_float64(lambda values: functional.log_softmax(values, dim=-1), x)


def mish(x: Tensor) -> Tensor:
    """Multiply each value by the hyperbolic tangent of its softplus."""
    return in_float64(functional.mish, x)


def relu6(x: Tensor) -> Tensor:
    """Limit each value to the range from 0 to 6."""
    return functional.relu6(x)


def rrelu(x: Tensor) -> Tensor:
    """Multiply negative values by a fixed slope; slopes are random only in training."""
    return in_float64(lambda values: functional.leaky_relu(values, RRELU_SLOPE), x)


def selu(x: Tensor) -> Tensor:
    """Return the scaled exponential linear unit of each value."""
    return in_float64(functional.selu, x)


def softmin(x: Tensor) -> Tensor:
    """Return probabilities of the negated values over the last dimension."""
    return in_float64(lambda values: functional.softmin(values, dim=-1), x)


def softplus(x: Tensor) -> Tensor:
    """Return a smooth approximation of the ReLU of each value."""
    return in_float64(functional.softplus, x)


def softshrink(x: Tensor) -> Tensor:
    """Move each value towards 0 by 0.5; values closer to 0 become 0."""
    return functional.softshrink(x)


def softsign(x: Tensor) -> Tensor:
    """Divide each value by 1 plus its absolute value."""
    return in_float64(functional.softsign, x)


def tanhshrink(x: Tensor) -> Tensor:
    """Subtract from each value its hyperbolic tangent."""
    return in_float64(functional.tanhshrink, x)
