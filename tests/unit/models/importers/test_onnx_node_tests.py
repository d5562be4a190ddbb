"""The node tests of the ONNX project, and how many of them the importer is bound to pass."""

from pathlib import Path

import pytest

from tests.unit.models.importers.onnx_node_tests import FAMILY, OTHERS, expected_failures, names, node_tests, run

FAILURES = expected_failures()


def parameters() -> list[object]:
    """Every test by its name, those that are expected to fail marked so: strictly, one that passes is a failure."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=FAILURES[name], strict=True)) if name in FAILURES else name
        for name in (*names(FAMILY), *names(OTHERS))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx_node_tests")


@pytest.mark.parametrize("name", parameters())
def test_node(name: str, folder: Path) -> None:
    run(node_tests()[name], folder)


def test_the_list_has_every_node_test_once() -> None:
    listed = [*names(FAMILY), *names(OTHERS)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(node_tests())


def test_every_expected_failure_is_a_node_test_and_has_a_reason() -> None:
    assert set(FAILURES) <= {*names(FAMILY), *names(OTHERS)}
    assert all(FAILURES.values())


def test_nearly_all_of_the_family_passes() -> None:
    family = set(names(FAMILY))
    assert len(family) == 1461
    assert len(family - set(FAILURES)) >= 1455


def test_most_of_all_node_tests_pass() -> None:
    assert len(set(node_tests()) - set(FAILURES)) >= 1700
