"""What every test may use."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def trained_networks() -> Path:
    """The folder of really trained networks that stands beside a checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip("the folder of trained networks is not beside this checkout")
    return folder
