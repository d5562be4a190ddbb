"""A server of one's own: a child process that listens on a Unix socket and ends with its parent."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from phosphene.errors import LaunchFailed

READY = "phosphene is listening on"
"""How the line begins that the server writes when it is ready."""

_STOP_SECONDS = 15.0  # beyond the server's own grace of ten
_TAIL_LINES = 15
# What `pip install 'phosphene[server]'` adds, by the names under which it is imported.
_SERVER_MODULES = ("phosphene_server", "torch", "torchvision", "onnx", "onnxruntime", "grpc_health", "pydantic", "yaml")


class EmbeddedServer:
    """One server process. The child is an interpreter of its own, so a script that launches it needs no main guard."""

    def __init__(
        self, model_repository: str | Path | None = None, *, start_timeout: float, **settings: str | int | float | bool
    ) -> None:
        self._settings = (
            settings if model_repository is None else {"model_repository": str(model_repository), **settings}
        )
        self._start_timeout = start_timeout
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self._require_folder() / 'socket'}"

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            LaunchFailed: the server extra is not installed, or the process ended or took too long; the message has the
                last lines that it wrote.
        """
        require_server()
        self._folder = Path(tempfile.mkdtemp(prefix="phosphene-"))
        try:
            self._spawn()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process and remove what it left; stopping twice does nothing."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def last_words(self) -> str | None:
        """What it wrote last, if it has ended by itself, or ends within a second; None while it runs."""
        if self._process is None:
            return None
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return None
        return self._tail()

    def _spawn(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*server_command(), "--listen", self.address, "--parent-pipe", "true", *command_line(self._settings)],
                stdin=subprocess.PIPE,  # the server ends when this closes, however this program ends
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for this program, which may want to go on
            )

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        ready = threading.Event()
        # Goes on reading after the line has come, so that the server never waits for a full pipe.
        threading.Thread(target=_read, args=(process, ready), name="phosphene-server", daemon=True).start()
        in_time = ready.wait(self._start_timeout)
        if in_time and process.poll() is None:
            return
        what = "ended" if in_time else f"was not ready after {self._start_timeout:g} s"
        raise LaunchFailed(f"the embedded server {what}; it wrote:\n{self._tail()}")

    @property
    def _log(self) -> Path:
        return self._require_folder() / "server.log"

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing)"

    def _require_folder(self) -> Path:
        if self._folder is None:
            raise LaunchFailed("the embedded server is not running")
        return self._folder


def server_command() -> list[str]:
    """What starts a server. `-P` keeps the working folder's files from being taken for the server's modules."""
    return [sys.executable, "-P", "-m", "phosphene_server"]


def command_line(settings: dict[str, str | int | float | bool]) -> list[str]:
    """Settings as options: `model_repository="models"` is `--model-repository models`."""
    words: list[str] = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def require_server() -> None:
    """Check that the server is installed.

    Raises:
        LaunchFailed: it is not; the message says how to install it.
    """
    missing = [name for name in _SERVER_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise LaunchFailed(
            f"the server is not installed ({', '.join(missing)} cannot be found): run pip install 'phosphene[server]'"
        )


def _read(process: "subprocess.Popen[str]", ready: threading.Event) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY):
            ready.set()
    process.wait()
    ready.set()  # it ended: nobody need wait any longer


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask by closing its standard input; insist when it does not go."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
