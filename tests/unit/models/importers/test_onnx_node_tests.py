"""The node tests of the ONNX project, and how many of them the importer is bound to pass.

The lists belong to one version of ONNX. With another one, tests that it does not have are skipped, those that it adds
are not run, and a test that it made easier may pass.
"""

from pathlib import Path

import onnx
import pytest

from tests.unit.models.importers.onnx_node_tests import (
    FAMILY,
    OTHERS,
    expected_failures,
    listed_version,
    names,
    node_tests,
    run,
)

LISTED = (*names(FAMILY), *names(OTHERS))
FAILURES = expected_failures()
IS_LISTED_VERSION = onnx.__version__ == listed_version()


def parameters() -> list[object]:
    """Every test by its name, those that are expected to fail marked so: strictly, one that passes is a failure."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=FAILURES[name], strict=IS_LISTED_VERSION))
        if name in FAILURES
        else name
        for name in LISTED
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx_node_tests")


@pytest.mark.parametrize("name", parameters())
def test_node(name: str, folder: Path) -> None:
    if name not in node_tests() and not IS_LISTED_VERSION:
        pytest.skip(f"onnx {onnx.__version__} does not have this test of {listed_version()}")
    run(node_tests()[name], folder)


def test_the_list_names_no_test_twice() -> None:
    assert len(LISTED) == len(set(LISTED))


@pytest.mark.skipif(not IS_LISTED_VERSION, reason="the list is that of another version of onnx")
def test_the_list_has_every_node_test() -> None:
    assert set(LISTED) == set(node_tests())


def test_every_expected_failure_is_a_node_test_and_has_a_reason() -> None:
    assert set(FAILURES) <= set(LISTED)
    assert all(FAILURES.values())


def test_nearly_all_of_the_family_passes() -> None:
    family = set(names(FAMILY))
    assert len(family) == 1461
    assert len(family - set(FAILURES)) >= 1455


def test_most_of_all_node_tests_pass() -> None:
    assert len(set(LISTED) - set(FAILURES)) >= 1700
