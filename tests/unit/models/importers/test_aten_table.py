import pytest
import torch

from phosphene_server.models.importers.aten.table import (
    OPERATORS,
    SYNONYMS,
    find_operator,
    functional_name,
    is_in_place,
)


def schemas(name: str) -> set[tuple[str, ...]]:
    found = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    return {tuple(argument.name for argument in schema.arguments) for schema in found}


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() | SYNONYMS.keys()))
def test_every_row_is_an_operator_of_torch(name: str) -> None:
    assert schemas(name)


@pytest.mark.parametrize("name", sorted(SYNONYMS))
def test_synonyms_have_rows_and_the_same_arguments(name: str) -> None:
    assert SYNONYMS[name] in OPERATORS
    assert {arguments for arguments in schemas(name) if "out" not in arguments} <= schemas(SYNONYMS[name])


def test_an_in_place_form_is_found_under_its_functional_name() -> None:
    assert is_in_place("relu_")
    assert functional_name("relu_") == "relu"
    assert find_operator("relu_") is OPERATORS["relu"]
    assert not is_in_place("__and__")


def test_an_unknown_operator_has_no_row() -> None:
    assert find_operator("digamma") is None


def test_no_row_hands_out_an_operator_that_overwrites() -> None:
    assert not [name for name in OPERATORS if is_in_place(name)]
