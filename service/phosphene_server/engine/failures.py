"""What a caller is told of an exception, and which exceptions end the process."""

import logging

from phosphene_server.errors import InternalError, PhospheneError

logger = logging.getLogger(__name__)


class DeviceLost(Exception):
    """The device or its driver is in a state that only a new process gets out of."""


def told(error: Exception, *, doing: str) -> PhospheneError:
    """Return what a caller is told: our own errors as they are, others without their internals, which are logged.

    Args:
        error: What was raised.
        doing: What the service was doing, as a phrase: `stepping a maximization`.

    Raises:
        DeviceLost: the error is one; nobody in this process can go on.
    """
    if isinstance(error, DeviceLost):
        raise error
    if isinstance(error, PhospheneError):
        return error
    logger.error("Failed while %s.", doing, exc_info=error)
    return InternalError(doing)
