"""The logit of a class."""

from phosphene_server.maximization.objectives.channel import channel
from phosphene_server.maximization.objectives.objective import Objective


def class_logit(*, layer: str, index: int) -> Objective:
    """Return the score of a class before any softmax, averaged over space where the network leaves some.

    The logit, not the probability: a probability also rises by lowering all other classes, and the pictures show it.

    References:
        Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", https://arxiv.org/abs/1312.6034, 2013.
    """
    return channel(layer=layer, channel=index)
