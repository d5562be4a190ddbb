"""How the numbers behind the picture are moved. A setting that is None is left to the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015)."""

    learning_rate: float | None = None
    beta1: float | None = None
    beta2: float | None = None


Optimizer = Adam  # becomes a union, like the others, when it has a second case


def adam(*, learning_rate: float | None = None, beta1: float | None = None, beta2: float | None = None) -> Adam:
    """Adam.

    Args:
        learning_rate: The size of a step, above 0, up to 10. Default: 0.05.
        beta1: How slowly the mean of the gradient forgets, 0 to below 1. Default: 0.9.
        beta2: How slowly the mean of its square forgets, 0 to below 1. Default: 0.999.

    References:
        Kingma and Ba, Adam: A Method for Stochastic Optimization, https://arxiv.org/abs/1412.6980, 2015.
    """
    return Adam(learning_rate, beta1, beta2)
