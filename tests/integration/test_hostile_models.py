"""Files that mean harm end in a clear error, in time, in little memory, and without having done anything."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import HostileModel
from tests.hostile.loading import CORPUS, MEMORY_BYTES

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 90
"""An import may take this long on a crowded machine; the importers' own bounds are at a third of it."""

ALL_SECONDS = 280


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Any]]:
    """What came of each file, loaded in a process of its own with little memory."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.hostile.loading", str(tmp_path_factory.mktemp("hostile"))]
    try:
        output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=ALL_SECONDS, check=False).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    rows = [json.loads(line) for line in output.decode().splitlines()]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("model", CORPUS, ids=lambda model: model.name)
def test_a_hostile_file_ends_in_a_clear_error(model: HostileModel, outcomes: Mapping[str, Mapping[str, Any]]) -> None:
    outcome = outcomes.get(model.name, {"text": "never reached", "begun": True})
    assert "begun" not in outcome, "the process hung or died on it"
    assert not outcome["executed"]
    assert outcome["seconds"] < SECONDS
    assert outcome["bytes"] < MEMORY_BYTES
    assert bool(outcome["error"]) == bool(model.says), outcome
    assert not outcome["error"].startswith("not the service's own"), outcome
    assert re.search(model.says, outcome["text"]), outcome
    assert len(outcome["text"]) < 2000
