"""Steps captured as CUDA graphs: the host asks for a whole step at once instead of for a thousand kernels.

A captured step does what it did when it was captured, on the same memory. So nothing in it may depend on a number of
the host, nor ask the device for one; batch.py is written so.
"""

from collections.abc import Callable

import torch


class CudaCapture:
    """Captures steps. Is a `Capture` of stepping.py.

    All graphs take their memory from one pool: they never run side by side, and what a step leaves is elsewhere.
    """

    def __init__(self) -> None:
        """Make the pool."""
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, move: Callable[[], None]) -> Callable[[], None]:
        """Capture what `move` asks the device for, without doing it.

        Raises:
            RuntimeError: something in it cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads load models and wait for copies meanwhile, which is no business of the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            move()
        return graph.replay
