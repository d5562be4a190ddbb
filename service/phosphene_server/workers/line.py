"""The front's end of the line to a worker process."""

import logging
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from phosphene_server.settings import Settings
from phosphene_server.workers.messages import Command, Report

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0
"""How long a process may take to end after its socket was closed; then it is killed."""


class Line:
    """Talks to a process on two threads, so that nobody else ever waits for it.

    One thread writes what is sent; the other reads, and learns at once when the process has ended, because that closes
    the socket. The second one also clears up: when it calls `ended`, nothing of the process is left.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        end: socket.socket,
        *,
        hear: Callable[[Report], None],
        ended: Callable[[int], None],
    ) -> None:
        """Start talking.

        Args:
            process: The process at the other end.
            end: Our end of the socket pair.
            hear: Hears each report, on the reading thread.
            ended: Hears the exit code, on the reading thread, once and last.
        """
        self._process = process
        self._socket = end
        # Two descriptors of one socket: the connection reads and writes, the socket can be shut down meanwhile.
        self._connection: Connection[Any, Report] = Connection(os.dup(end.fileno()))
        self._hear = hear
        self._ended = ended
        self._outbox: queue.SimpleQueue[Command | Settings | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="worker-writer", daemon=True)
        self._reader = threading.Thread(target=self._read, name="worker-reader", daemon=True)
        self._writer.start()
        self._reader.start()

    def send(self, message: Command | Settings) -> None:
        """Send a message after those before it; it is lost when the process is."""
        self._outbox.put(message)

    def hang_up(self) -> None:
        """Let the process end, after what was sent before."""
        self._outbox.put(None)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _write(self) -> None:
        try:
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            logger.debug("The worker has hung up.")  # the reading thread sees to it

    def _read(self) -> None:
        try:
            while True:
                self._hear(self._connection.recv())
        except (EOFError, OSError):
            logger.debug("The worker has closed its socket.")
        except Exception:
            logger.exception("The worker said something unreadable; it is ended.")
            self.kill()
        self._ended(self._clear_up())

    def _clear_up(self) -> int:
        try:
            code = self._process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.hang_up()
        self._writer.join()
        self._connection.close()
        self._socket.close()
        return code
