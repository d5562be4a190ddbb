import dataclasses
import pickle
from typing import Any

import pytest

from phosphene_server.errors import InvalidArgument, NotFound, PhospheneError, UnsupportedModel, nearest_names


def every_error() -> list[type[PhospheneError]]:
    def below(kind: type[PhospheneError]) -> list[type[PhospheneError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    return below(PhospheneError)[1:]


def example(kind: type[PhospheneError], *, text: str = "some text") -> PhospheneError:
    """Make an error with something in each of its fields."""
    samples: dict[Any, Any] = {str: text, int: 7, float: 2.5, tuple[str, ...]: (text, text)}
    values = {field.name: samples[field.type] for field in dataclasses.fields(kind) if field.type in samples}
    return kind(**values)


@pytest.mark.parametrize("kind", every_error())
def test_every_error_crosses_a_process_line_whole(kind: type[PhospheneError]) -> None:
    error = example(kind)
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), dataclasses.asdict(copied), str(copied)) == (kind, dataclasses.asdict(error), str(error))


@pytest.mark.parametrize("kind", every_error())
def test_every_error_is_a_sentence_that_has_its_text(kind: type[PhospheneError]) -> None:
    assert len(str(example(kind))) > len("some text")


def test_an_invalid_argument_names_field_value_and_expectation() -> None:
    error = InvalidArgument("size.height", "0", "a number of at least 8")
    assert str(error) == "size.height: expected a number of at least 8, got 0"


def test_not_found_tells_the_nearest_names() -> None:
    error = NotFound("layer", "conv", ("conv1", "conv2"), "objective.channel.layer")
    assert str(error) == "objective.channel.layer: no layer is named 'conv'; did you mean 'conv1', 'conv2'?"
    assert str(NotFound("layer", "conv")) == "no layer is named 'conv'"


def test_an_unsupported_model_lists_its_operators_with_their_nodes() -> None:
    error = UnsupportedModel("net", "operators are missing", (("Loop", ("a", "b")), ("If", ("c",))))
    assert str(error).endswith("operators are missing: Loop (a, b); If (c)")


def test_nearest_names_ignore_capitals_and_find_parts() -> None:
    known = ("Conv1.weight", "inception4a.branch2.conv", "fc")
    assert nearest_names("CONV1.weigth", known) == ("Conv1.weight",)
    assert nearest_names("branch2", known) == ("inception4a.branch2.conv",)
    assert nearest_names("zzz", known) == ()
