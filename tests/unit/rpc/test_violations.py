"""Bad input in every field of every request: the path of the field, the value and what is allowed."""

from collections.abc import Callable

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from phosphene.v1 import filter_pb2, kernel_pb2, maximization_pb2, model_pb2
from phosphene_server.errors import InvalidArgument
from phosphene_server.rpc.codec import to_value
from phosphene_server.values import filter as filter_values
from phosphene_server.values import kernel as kernel_values
from phosphene_server.values import maximization as maximization_values
from phosphene_server.values import model as model_values
from phosphene_server.values.maximization import FrameOptions, JitterTransform

MODULES = {
    model_pb2: model_values,
    filter_pb2: filter_values,
    kernel_pb2: kernel_values,
    maximization_pb2: maximization_values,
}

LONG = "a" * 257
MODEL = 'model { name: "net" }'
OBJECTIVE = 'objective { channel { layer: "conv1" } }'
IMAGE = 'images { encoded { data: "abc" } }'
NAMED = "kernel { named: KERNEL_NAME_BOX }"
PIXEL = 'data_type: DATA_TYPE_UINT8 shape: [1, 1] data: "a"'

# What is wrong, what else the request needs; the field, and a part of the rest of the message.
MODEL_REFERENCE = [
    ("", "model", "a value, got nothing"),
    ("model {}", "model.name", "at least 1 character, got ''"),
    (f'model {{ name: "{LONG}" }}', "model.name", "at most 256 characters, got 'aaa"),
    ('model { name: "net" version: "" }', "model.version", "at least 1 character, got ''"),
    (f'model {{ name: "net" version: "{LONG}" }}', "model.version", "at most 256 characters"),
    ('model { name: "net" format: 9 }', "model.format", "'onnx', 'torchscript' or 'torch_export', got 9"),
]
PAGE = [
    ("page_size: 0", "page_size", "a number of at least 1, got 0"),
    ("page_size: 1001", "page_size", "a number of at most 1000, got 1001"),
]
IDENTIFIER = [
    ("", "maximization_id", "at least 1 character, got ''"),
    (f'maximization_id: "{LONG}"', "maximization_id", "at most 64 characters"),
]


def sums(depth: int) -> str:
    if depth == 0:
        return 'layer { layer: "a" }'
    return f"weighted_sum {{ terms {{ objective {{ {sums(depth - 1)} }} }} }}"


def encoding(place: str) -> list[tuple[str, str, str]]:
    def wrap(text: str) -> str:
        for name in reversed(place.split(".")):
            text = f"{name} {{ {text} }}"
        return text

    return [
        (wrap("format: 9"), f"{place}.format", "'png', 'jpeg' or 'webp', got 9"),
        (wrap("quality: 0"), f"{place}.quality", "a number of at least 1, got 0"),
        (wrap("quality: 101"), f"{place}.quality", "a number of at most 100, got 101"),
    ]


def tensor(place: str, before: str, after: str) -> list[tuple[str, str, str]]:
    """What can be wrong with a tensor that is written between `before` and `after`."""
    types = "one of float32, float64, float16, uint8, int8, int16, int32, int64, bool"
    wrong = [
        ("", "data_type", f"{types}, got nothing"),
        ("data_type: 77", "data_type", f"{types}, got 77"),
        ("data_type: DATA_TYPE_INT8 shape: [1, -1]", "shape[1]", "a length from 0 to 2147483647, got -1"),
        ("data_type: DATA_TYPE_INT8 shape: [4611686018427387904, 0]", "shape[0]", "a length from 0"),
        ("data_type: DATA_TYPE_INT8 shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]", "shape", "at most 8 items, got 9 items"),
        ('data_type: DATA_TYPE_FLOAT32 shape: [2] data: "abc"', "data", "8 bytes (float32 of shape (2,)), got 3 bytes"),
        ('data_type: DATA_TYPE_BOOL shape: [1] data: "a"', "data", "bytes of 0 or 1, got a byte of 97"),
    ]
    return [(f"{before} {text} {after}", f"{place}.{field}", message) for text, field, message in wrong]


def number(place: str, *, below: str, above: str, limits: tuple[str, str]) -> list[tuple[str, str, str]]:
    """A number that is too small and one that is too large, in a field of nested messages: `a.b.c`."""

    def nest(value: str) -> str:
        *outer, name = place.split(".")
        text = f"{name}: {value}"
        for part in reversed(outer):
            text = f"{part.partition('[')[0]} {{ {text} }}"
        return text

    return [
        (nest(below), place, f"a number {limits[0]}, got"),
        (nest(above), place, f"a number {limits[1]}, got"),
    ]


def between(place: str, low: str, high: str, *, below: str = "-1", above: str = "1e9") -> list[tuple[str, str, str]]:
    return number(place, below=below, above=above, limits=(f"of at least {low}", f"of at most {high}"))


MAXIMIZE = [
    ("objective {}", "objective", "one of 'channel', 'neuron', 'layer', 'class_logit', 'weighted_sum', got nothing"),
    ("objective { channel {} }", "objective.channel.layer", "at least 1 character, got ''"),
    ("objective { neuron {} }", "objective.neuron.layer", "at least 1 character, got ''"),
    ("objective { layer {} }", "objective.layer.layer", "at least 1 character, got ''"),
    ("objective { class_logit {} }", "objective.class_logit", "exactly one of 'index' and 'label', got nothing"),
    ('objective { class_logit { label: "" } }', "objective.class_logit.label", "at least 1 character, got ''"),
    ("objective { weighted_sum {} }", "objective.weighted_sum.terms", "at least 1 item, got 0 items"),
    (
        "objective { weighted_sum { terms { weight: nan objective { layer { layer: 'a' } } } } }",
        "objective.weighted_sum.terms[0].weight",
        "a finite number, got nan",
    ),
    ("objective { weighted_sum { terms {} } }", "objective.weighted_sum.terms[0].objective", "one of 'channel'"),
    (
        "objective { weighted_sum { terms { objective { layer { layer: 'a' } } } "
        "terms { objective { channel {} } } } }",
        "objective.weighted_sum.terms[1].objective.channel.layer",
        "at least 1 character",
    ),
    (f"objective {{ {sums(5)} }}", "objective.weighted_sum", "sums at most 4 levels deep, got 5 levels"),
    *number("steps", below="0", above="100001", limits=("of at least 1", "of at most 100000")),
    ("size { width: 8 }", "size.height", "a number of at least 8, got 0"),
    ("size { height: 8 width: 4097 }", "size.width", "a number of at most 4096, got 4097"),
    *number("pictures", below="0", above="65", limits=("of at least 1", "of at most 64")),
    *between("parameterization.fourier.standard_deviation", "0", "10"),
    *between("parameterization.fourier.decay", "0", "3", above="nan"),
    *between("parameterization.pixels.standard_deviation", "0", "10", above="inf"),
    ("transforms { items {} }", "transforms.items[0]", "one of 'jitter', 'scale', 'rotate', 'noise', 'pad', 'resize'"),
    ("transforms {" + "items { pad {} }" * 33 + "}", "transforms.items", "at most 32 items, got 33 items"),
    ("transforms { items { jitter {} } }", "transforms.items[0].jitter", "exactly one of 'pixels' and 'fraction'"),
    *between("transforms.items[0].jitter.pixels", "0", "4096"),
    *between("transforms.items[0].jitter.fraction", "0", "1"),
    *between("transforms.items[0].scale.minimum", "0.1", "10"),
    *between("transforms.items[0].scale.maximum", "0.1", "10"),
    ("transforms { items { scale { minimum: 2 } } }", "transforms.items[0].scale.maximum", "at least 'minimum' (2)"),
    *between("transforms.items[0].rotate.degrees", "0", "180"),
    *between("transforms.items[0].noise.standard_deviation", "0", "1"),
    ("transforms { items { pad { pixels: 513 } } }", "transforms.items[0].pad.pixels", "a number of at most 512"),
    ("transforms { items { pad { border: 5 } } }", "transforms.items[0].pad.border", "'reflect' or 'gray', got 5"),
    ("transforms { items { resize {} } }", "transforms.items[0].resize.size", "a value, got nothing"),
    (
        "transforms { items { resize { size { height: 8 width: 4097 } } } }",
        "transforms.items[0].resize.size.width",
        "a number of at most 4096, got 4097",
    ),
    ("penalties { weight: 1 }", "penalties[0].penalty", "one of 'total_variation', 'l1', 'l2', got nothing"),
    ("penalties { weight: -1 penalty { l1 {} } }", "penalties[0].weight", "a number of at least 0, got -1.0"),
    ("penalties { weight: inf penalty { l1 {} } }", "penalties[0].weight", "a finite number, got inf"),
    ("penalties { penalty { l1 {} } }" * 17, "penalties", "at most 16 items, got 17 items"),
    *number("optimizer.adam.learning_rate", below="0", above="11", limits=("above 0", "of at most 10")),
    *number("optimizer.adam.beta1", below="-1", above="1", limits=("of at least 0", "below 1")),
    *number("optimizer.adam.beta2", below="-1", above="1", limits=("of at least 0", "below 1")),
    ("stop_rules {}", "stop_rules[0]", "one of 'target', 'plateau', got nothing"),
    ("stop_rules { target {} }" * 9, "stop_rules", "at most 8 items, got 9 items"),
    ("stop_rules { target { objective: nan } }", "stop_rules[0].target.objective", "a finite number, got nan"),
    ("stop_rules { plateau { window: 3 } }", "stop_rules[0].plateau.window", "a number of at least 4, got 3"),
    ("stop_rules { plateau { window: 10001 } }", "stop_rules[0].plateau.window", "a number of at most 10000"),
    *between("stop_rules[0].plateau.tolerance", "0", "1"),
    ("frames { every_steps: 100001 }", "frames.every_steps", "a number of at most 100000, got 100001"),
    ("frames { interval {} }", "frames.interval", "a number of at least 0.001, got 0.0"),
    ("frames { interval { seconds: 3601 } }", "frames.interval", "a number of at most 3600, got 3601.0"),
    *encoding("frames.encoding"),
    *encoding("result.encoding"),
    ("linger { seconds: -1 }", "linger", "a number of at least 0, got -1.0"),
    ("linger { seconds: 86401 }", "linger", "a number of at most 86400, got 86401.0"),
    ('fixed_inputs { name: "mask" }', "fixed_inputs[0].value", "a value, got nothing"),
    ("fixed_inputs { value { data_type: 4 data: 'a' } }", "fixed_inputs[0].name", "at least 1 character, got ''"),
    *tensor("fixed_inputs[0].value", 'fixed_inputs { name: "mask" value {', "} }"),
    *number("priority", below="0", above="1001", limits=("of at least 1", "of at most 1000")),
    ("precision: 9", "precision", "'float32' or 'bfloat16', got 9"),
]
# The fields of a request for a layer that are those of one for a picture are the same annotations.
LAYER = [
    *number("steps", below="0", above="100001", limits=("of at least 1", "of at most 100000")),
    ("penalties { weight: 1 }", "penalties[0].penalty", "one of 'total_variation', 'l1', 'l2', got nothing"),
    ("channels: 1 " * 16_385, "channels", "at most 16384 items, got 16385 items"),
    ("target: 9", "target", "'channel' or 'neuron', got 9"),
    *encoding("encoding"),
    *number("sheet.columns", below="0", above="4097", limits=("of at least 1", "of at most 4096")),
    *number("sheet.tile_size", below="7", above="1025", limits=("of at least 8", "of at most 1024")),
    *encoding("sheet.encoding"),
]
EXTRACT = [
    ("layer: ''", "layer", "at least 1 character, got ''"),
    (f"layer: '{LONG}'", "layer", "at most 256 characters"),
    ("figure { normalization: 9 }", "figure.normalization", "'layer', 'filter' or 'symmetric', got 9"),
    *number("figure.enlargement", below="0", above="65", limits=("of at least 1", "of at most 64")),
    *number("figure.tile_limit", below="0", above="16385", limits=("of at least 1", "of at most 16384")),
    *encoding("figure.encoding"),
]
IMAGES = [
    ("", "images", "at least 1 item, got 0 items"),
    (IMAGE * 65, "images", "at most 64 items, got 65 items"),
    (f"{IMAGE} images {{}}", "images[1]", "one of 'encoded', 'tensor', got nothing"),
    ("images { encoded { media_type: 'image/gif' } }", "images[0].encoded.media_type", "got 'image/gif'"),
    *tensor("images[0].tensor", "images { tensor {", "} }"),
]
KERNEL = [
    ("", "kernel", "one of 'named', 'values', 'layer', got nothing"),
    ("kernel {}", "kernel", "one of 'named', 'values', 'layer', got nothing"),
    ("kernel { named: KERNEL_NAME_UNSPECIFIED }", "kernel.named", "one of 'laplacian', 'sobel_x'"),
    ("kernel { named: 99 }", "kernel.named", "'emboss' or 'identity', got 99"),
    *tensor("kernel.values", "kernel { values {", "} }"),
    ("kernel { layer { layer: 'a' } }", "kernel.layer.model", "a value, got nothing"),
    ("kernel { layer { model { } layer: 'a' } }", "kernel.layer.model.name", "at least 1 character"),
    (f"kernel {{ layer {{ {MODEL} }} }}", "kernel.layer.layer", "at least 1 character, got ''"),
]
APPLY = [
    ("channels: 9", "channels", "'gray' or 'per_channel', got 9"),
    ("stride { columns: 1 }", "stride.rows", "a number of at least 1, got 0"),
    ("stride { rows: 1 columns: 4097 }", "stride.columns", "a number of at most 4096, got 4097"),
    ("dilation { rows: 1 }", "dilation.columns", "a number of at least 1, got 0"),
    ("dilation { rows: 4097 columns: 1 }", "dilation.rows", "a number of at most 4096, got 4097"),
    ("padding: 9", "padding", "'valid', 'zeros', 'reflect', 'replicate' or 'circular', got 9"),
    *encoding("rendering.encoding"),
    ("rendering { scale: 0 }", "rendering.scale", "a number above 0, got 0.0"),
    ("rendering { scale: inf }", "rendering.scale", "a finite number, got inf"),
    *between("rendering.overlay_opacity", "0", "1"),
]


def cases(name: str, table: list[tuple[str, str, str]], *, rest: str = "") -> list[tuple[str, str, str, str]]:
    return [(name, f"{rest} {text}", field, message) for text, field, message in table]


TABLE = [
    *(row for name in ("GetModel", "LoadModel", "UnloadModel") for row in cases(name, MODEL_REFERENCE)),
    *cases("ListModels", PAGE),
    *cases("ListMaximizations", PAGE),
    *(row for name in ("Get", "Cancel", "Watch") for row in cases(f"{name}Maximization", IDENTIFIER)),
    *cases("WatchLayer", IDENTIFIER),
    *cases("ExtractFilters", MODEL_REFERENCE, rest="layer: 'a'"),
    *cases("ExtractFilters", EXTRACT[:2], rest=MODEL),
    *cases("ExtractFilters", EXTRACT[2:], rest=f"{MODEL} layer: 'a'"),
    *cases("MaximizeActivation", MODEL_REFERENCE, rest=OBJECTIVE),
    *cases("MaximizeActivation", MAXIMIZE[:11], rest=MODEL),
    *cases("MaximizeActivation", MAXIMIZE[11:], rest=f"{MODEL} {OBJECTIVE}"),
    *cases("MaximizeLayer", MODEL_REFERENCE, rest="layer: 'a'"),
    *cases("MaximizeLayer", EXTRACT[:2], rest=MODEL),
    *cases("MaximizeLayer", LAYER, rest=f"{MODEL} layer: 'a'"),
    *cases("ApplyKernel", IMAGES, rest=NAMED),
    *cases("ApplyKernel", KERNEL, rest=IMAGE),
    *cases("ApplyKernel", APPLY, rest=f"{IMAGE} {NAMED}"),
]


def read(name: str, text: str) -> object:
    for messages, values in MODULES.items():
        if hasattr(messages, f"{name}Request"):
            message: Message = getattr(messages, f"{name}Request")()
            return to_value(text_format.Parse(text, message), getattr(values, f"{name}Request"))
    raise AssertionError(name)


@pytest.mark.parametrize(("name", "text", "field", "message"), TABLE)
def test_bad_input_is_told_by_field_and_expectation(name: str, text: str, field: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(name, text)
    assert caught.value.field == field
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("make", "expected", "got"),
    [
        (JitterTransform, "exactly one of 'pixels' and 'fraction'", "nothing"),
        (lambda: JitterTransform(4.0, 0.1), "exactly one of 'pixels' and 'fraction'", "both"),
        (lambda: FrameOptions(every_steps=4, interval=1.0), "at most one of 'every_steps' and 'interval'", "both"),
    ],
)
def test_what_the_contract_cannot_say_twice_the_values_do_not_either(
    make: Callable[[], object], expected: str, got: str
) -> None:
    with pytest.raises(ValueError, match=r"exactly one|at most one") as caught:
        make()
    assert caught.value.args == ("", expected, got)


# Any value of these is right as far as the contract alone can say.
FREE = {
    "bool": "either value",
    "index": "any number; the worker knows how many there are",
    "filters": "any number; the worker knows how many there are",
    "seed": "any number",
    "from_step": "any number",
    "from_picture": "any number",
    "page_token": "checked by the lists, see test_board.py",
    "data": "the bytes of a picture are checked by the worker",
    "channel": "any number; the worker knows how many there are",
    "row": "any number; the worker knows how many there are",
    "column": "any number; the worker knows how many there are",
}


def leaves(descriptor: Descriptor, seen: tuple[str, ...] = ()) -> set[str]:
    """The fields of a request and of what it is made of, as `Message.field`."""
    found: set[str] = set()
    for field in descriptor.fields:
        inner = field.message_type
        if inner and inner.full_name.startswith("phosphene") and inner.full_name not in seen:
            found |= leaves(inner, (*seen, inner.full_name))
        elif not inner and field.name not in FREE and field.cpp_type != field.CPPTYPE_BOOL:
            found.add(f"{descriptor.name}.{field.name}")
    return found


def test_the_table_knows_every_field_of_every_request() -> None:
    known = {field.replace("]", "").split(".")[-1].partition("[")[0] for _, _, field, _ in TABLE}
    for messages in MODULES:
        for name, descriptor in messages.DESCRIPTOR.message_types_by_name.items():
            if name.endswith("Request"):
                assert {leaf.split(".")[1] for leaf in leaves(descriptor)} <= known, name


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read("MaximizeActivation", f"{OBJECTIVE} steps: 0 linger {{ seconds: -1 }}")
    error = caught.value
    assert [wrong.field for wrong in (error, *error.others)] == ["model", "steps", "linger"]


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read("GetModel", f'model {{ name: "{"é" * 10000}" }}')
    assert len(caught.value.value) == 60


def test_fixed_inputs_have_a_limit_together() -> None:
    size = 2**24 + 1
    tensor = f'value {{ data_type: DATA_TYPE_UINT8 shape: [{size}] data: "{"a" * size}" }}'
    with pytest.raises(InvalidArgument, match="at most 16,777,216 bytes together, got 16,777,217 bytes") as caught:
        read("MaximizeActivation", f'{MODEL} {OBJECTIVE} fixed_inputs {{ name: "mask" {tensor} }}')
    assert caught.value.field == "fixed_inputs"
