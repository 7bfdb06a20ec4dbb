"""The other activations of torch.nn that Dense modules name, with their default arguments: [..., dim] -> [..., dim].

Each is named like the class of torch.nn, in lower case. A row's result is the same to the bit in any batch.
"""

from torch import Tensor
from torch.nn import functional

from millpond_poolers.activations import _finely

RRELU_SLOPE = (1 / 8 + 1 / 3) / 2  # outside of training, the mean of the bounds that slopes are drawn between


def celu(x: Tensor) -> Tensor:
    """The continuously differentiable exponential linear unit of each value."""
    return _finely(functional.celu, x)


def elu(x: Tensor) -> Tensor:
    """The exponential linear unit of each value."""
    return _finely(functional.elu, x)


def hardshrink(x: Tensor) -> Tensor:
    """Each value, or 0 between -0.5 and 0.5."""
    return functional.hardshrink(x)


def hardsigmoid(x: Tensor) -> Tensor:
    """A sigmoid made of three straight lines, of each value."""
    return _finely(functional.hardsigmoid, x)


def hardswish(x: Tensor) -> Tensor:
    """Each value times its hard sigmoid."""
    return _finely(functional.hardswish, x)


def hardtanh(x: Tensor) -> Tensor:
    """Each value, at least -1 and at most 1."""
    return functional.hardtanh(x)


def leakyrelu(x: Tensor) -> Tensor:
    """Each value, or a hundredth of it where it is negative."""
    return _finely(functional.leaky_relu, x)


def logsigmoid(x: Tensor) -> Tensor:
    """The logarithm of the sigmoid of each value."""
    return _finely(functional.logsigmoid, x)


def logsoftmax(x: Tensor) -> Tensor:
    """The logarithms of probabilities over the last dimension."""
    return _finely(lambda values: functional.log_softmax(values, dim=-1), x)


def mish(x: Tensor) -> Tensor:
    """Each value times the hyperbolic tangent of its softplus."""
    return _finely(functional.mish, x)


def relu6(x: Tensor) -> Tensor:
    """Each value, at least 0 and at most 6."""
    return functional.relu6(x)


def rrelu(x: Tensor) -> Tensor:
    """Each value, or a fixed part of it where it is negative: slopes are random in training only."""
    return _finely(lambda values: functional.leaky_relu(values, RRELU_SLOPE), x)


def selu(x: Tensor) -> Tensor:
    """The scaled exponential linear unit of each value."""
    return _finely(functional.selu, x)


def softmin(x: Tensor) -> Tensor:
    """Probabilities of the negated values over the last dimension."""
    return _finely(lambda values: functional.softmin(values, dim=-1), x)


def softplus(x: Tensor) -> Tensor:
    """A smooth ReLU of each value."""
    return _finely(functional.softplus, x)


def softshrink(x: Tensor) -> Tensor:
    """Each value moved towards 0 by 0.5, or 0 where it is nearer than that."""
    return functional.softshrink(x)


def softsign(x: Tensor) -> Tensor:
    """Each value over 1 plus its size."""
    return _finely(functional.softsign, x)


def tanhshrink(x: Tensor) -> Tensor:
    """Each value minus its hyperbolic tangent."""
    return _finely(functional.tanhshrink, x)
