"""The embedded server: a child process stands in for the real one."""

import sys
import textwrap

import pytest

from phosphene import embedded, errors
from phosphene.embedded import EmbeddedServer, command_line


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Make a script the server."""
    monkeypatch.setattr(embedded, "require_server", lambda: None)

    def install(script: str) -> EmbeddedServer:
        path = tmp_path / "server.py"
        path.write_text(textwrap.dedent(script))
        monkeypatch.setattr(embedded, "server_command", lambda: [sys.executable, str(path)])
        return EmbeddedServer(start_timeout=10)

    return install


OBEDIENT = """
import sys
print("phosphene is listening on", sys.argv[sys.argv.index("--listen") + 1], flush=True)
sys.stdin.read()
"""


def test_it_is_ready_when_it_says_so_and_ends_with_its_pipe(stand_in):
    server = stand_in(OBEDIENT)
    server.start()
    process, folder = server._process, server._folder
    assert process.poll() is None
    assert server.address == f"unix:{folder}/socket"
    server.stop()
    assert process.returncode == 0
    assert not folder.exists()
    server.stop()


def test_one_that_fails_tells_what_it_wrote(stand_in):
    server = stand_in("import sys; sys.exit('the model repository is not a folder')")
    with pytest.raises(errors.LaunchFailed, match="ended; it wrote:\nthe model repository is not a folder"):
        server.start()
    assert server._folder is None


def test_one_that_never_gets_ready_is_given_up(stand_in, monkeypatch):
    monkeypatch.setattr(embedded, "_STOP_SECONDS", 0.2)
    server = stand_in("import sys, time; sys.stderr.write('loading\\n'); sys.stderr.flush(); time.sleep(60)")
    server._start_timeout = 1.0
    with pytest.raises(errors.LaunchFailed, match="not ready after 1 s; it wrote:\nloading"):
        server.start()


def test_one_that_talks_much_is_not_blocked(stand_in):
    server = stand_in(OBEDIENT.replace("sys.stdin.read()", "print('x' * 2**20, flush=True); sys.stdin.read()"))
    server.start()
    process = server._process
    server.stop()
    assert process.returncode == 0


def test_last_words_are_there_once_it_has_ended(stand_in):
    server = stand_in(OBEDIENT.replace("sys.stdin.read()", "sys.stdin.readline(); sys.exit('out of memory')"))
    server.start()
    server._process.stdin.write("end\n")
    server._process.stdin.flush()
    server._process.wait(10)
    assert server.last_words() == "out of memory"
    server.stop()


def test_settings_become_options():
    assert command_line({"model_repository": "models", "threads": 2, "model_admin": True}) == [
        "--model-repository",
        "models",
        "--threads",
        "2",
        "--model-admin",
        "true",
    ]


def test_a_missing_server_is_explained(monkeypatch):
    monkeypatch.setattr(embedded, "_SERVER_MODULES", ("phosphene_server", "a_module_that_nobody_has"))
    with pytest.raises(errors.LaunchFailed, match=r"a_module_that_nobody_has.*pip install 'phosphene\[server\]'"):
        EmbeddedServer(start_timeout=1).start()
