import pytest
import torch

from phosphene_server.models.importers.aten.table import (
    OPERATORS,
    SYNONYMS,
    find_operator,
    functional_name,
    is_in_place,
)
from phosphene_server.models.importers.aten.views import VIEWS


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
    assert find_operator("polygamma") is None


def test_no_row_hands_out_an_operator_that_overwrites() -> None:
    assert not [name for name in OPERATORS if is_in_place(name)]


def may_share_memory(name: str) -> bool:
    """Whether torch declares that the result of an operator may be a view of its argument."""
    found = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    results = [result.alias_info for schema in found for result in schema.returns]
    return any(alias is not None and not alias.is_write for alias in results)


@pytest.mark.parametrize("name", sorted(name for name in OPERATORS if may_share_memory(name)))
def test_what_shares_memory_in_torch_is_a_view_here(name: str) -> None:
    # These give their argument itself where they share its memory.
    assert name in VIEWS or name in {"alias", "as_strided", "as_tensor", "contiguous", "lift_fresh", "to"}
