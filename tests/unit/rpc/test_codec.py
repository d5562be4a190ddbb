import dataclasses
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from phosphene.v1 import filter_pb2, kernel_pb2, maximization_pb2, model_pb2
from phosphene_server.jobs.layer_request import SHARED_FIELDS
from phosphene_server.rpc.codec import to_message, to_value
from phosphene_server.rpc.descriptors import choices, union_of
from phosphene_server.values import filter as filter_values
from phosphene_server.values import kernel as kernel_values
from phosphene_server.values import maximization as maximization_values
from phosphene_server.values import model as model_values
from phosphene_server.values.image import EncodedImage, ImageEncoding, TensorImage
from phosphene_server.values.maximization import (
    AdamOptimizer,
    ClassLogitObjective,
    FrameOptions,
    LayerEvent,
    MaximizationEvent,
    MaximizationFrame,
    MaximizeActivationRequest,
    MaximizeLayerRequest,
)
from tests.unit.jobs.front_fakes import filters, frame, model, request, result

MODULES = {
    model_pb2: model_values,
    filter_pb2: filter_values,
    kernel_pb2: kernel_values,
    maximization_pb2: maximization_values,
}
SERVICE_MESSAGES = [
    (descriptor, getattr(values, name))
    for messages, values in MODULES.items()
    for name, descriptor in messages.DESCRIPTOR.message_types_by_name.items()
    if name.endswith(("Request", "Response")) and hasattr(values, name)
]
SECONDS = ("google.protobuf.Duration", "google.protobuf.Timestamp")


# The values mirror the messages


def test_every_request_and_response_has_its_value() -> None:
    wanted = {
        name
        for messages in MODULES
        for name in messages.DESCRIPTOR.message_types_by_name
        if name.endswith(("Request", "Response"))
    }
    # The events of the streams are told as they are, without the message around each.
    streamed = {
        f"{call}Response" for call in ("MaximizeActivation", "WatchMaximization", "MaximizeLayer", "WatchLayer")
    }
    assert {descriptor.name for descriptor, _ in SERVICE_MESSAGES} | streamed == wanted


@pytest.mark.parametrize(("descriptor", "value"), SERVICE_MESSAGES, ids=lambda item: getattr(item, "name", ""))
def test_messages_and_values_agree_field_by_field(descriptor: Descriptor, value: type) -> None:
    compare_message(descriptor, value, seen=set())


def test_the_events_agree_field_by_field() -> None:
    compare_message(maximization_pb2.MaximizationEvent.DESCRIPTOR, MaximizationEvent, seen=set())
    compare_message(maximization_pb2.LayerEvent.DESCRIPTOR, LayerEvent, seen=set())


def test_a_layer_and_its_pictures_share_fields_of_the_same_name_number_and_type() -> None:
    layer = maximization_pb2.MaximizeLayerRequest.DESCRIPTOR.fields_by_name
    single = maximization_pb2.MaximizeActivationRequest.DESCRIPTOR.fields_by_name
    # What one picture has and a layer has not: the objective follows from layer and target, and there is one of each.
    assert set(single) - set(layer) == {"objective", "pictures", "result"}
    for name in SHARED_FIELDS:
        assert (layer[name].number, layer[name].type) == (single[name].number, single[name].type)
        assert layer[name].message_type == single[name].message_type
    hints = [get_type_hints(kind, include_extras=True) for kind in (MaximizeLayerRequest, MaximizeActivationRequest)]
    defaults = [
        {field.name: (field.default, field.default_factory) for field in dataclasses.fields(kind)}
        for kind in (MaximizeLayerRequest, MaximizeActivationRequest)
    ]
    for name in SHARED_FIELDS:
        assert hints[0][name] == hints[1][name]
        assert defaults[0][name] == defaults[1][name] or name == "frames"


def compare_message(descriptor: Descriptor, value: Any, *, seen: set[tuple[str, Any]]) -> None:
    key = (descriptor.full_name, str(value))
    if key in seen:
        return
    seen.add(key)
    union = union_of(descriptor)
    if union is None:
        compare_fields(descriptor, value, seen=seen)
        return
    by_kind = {kind_of(member): member for member in members(value)}
    assert set(by_kind) == {case.name for case in union.fields}, descriptor.full_name
    for case in union.fields:
        member = by_kind[case.name]
        if case.message_type and case.message_type.full_name != "phosphene.v1.Tensor":
            compare_message(case.message_type, member, seen=seen)
        else:
            compare_field(case, get_type_hints(member, include_extras=True)[case.name], seen=seen)


def compare_fields(descriptor: Descriptor, value: type, *, seen: set[tuple[str, Any]]) -> None:
    hints = get_type_hints(value, include_extras=True)
    # `kind` is the tag of a union's member, unless the message has a field of that name itself.
    names = set(hints) - ({"kind"} if get_origin(hints.get("kind")) is Literal else set()) - {"__pydantic_config__"}
    assert names == {field.name for field in descriptor.fields}, descriptor.full_name
    for field in descriptor.fields:
        compare_field(field, hints[field.name], seen=seen)
        check_default(field, value)


def compare_field(field: FieldDescriptor, hint: Any, *, seen: set[tuple[str, Any]]) -> None:
    hint = plain(hint)
    if field.is_repeated:
        assert get_origin(hint) is tuple, field.full_name
        hint = plain(get_args(hint)[0])
    optional = [plain(argument) for argument in members(hint) if argument is not type(None)]
    name = field.message_type.full_name if field.message_type else ""
    if name == "phosphene.v1.Tensor":
        assert get_origin(optional[0]) is np.ndarray, field.full_name
    elif name in SECONDS:
        assert optional == [float], field.full_name
    elif name:
        compare_message(field.message_type, Union[tuple(optional)], seen=seen)  # noqa: UP007
    elif field.enum_type and optional != [str]:  # data types are numpy's own names
        assert set(get_args(optional[0])) == set(choices(field)), field.full_name
    elif not field.enum_type and get_origin(optional[0]) is not Literal:
        assert optional == [SCALARS[field.cpp_type]], field.full_name


def check_default(field: FieldDescriptor, value: type) -> None:
    """A field without presence arrives as zero, so its default, where it has one, must be zero too."""
    default = next(item.default for item in dataclasses.fields(value) if item.name == field.name)
    if not field.has_presence and not field.is_repeated and not field.enum_type and default is not dataclasses.MISSING:
        assert default == field.default_value, field.full_name


SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
    FieldDescriptor.CPPTYPE_DOUBLE: float,
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_BOOL: bool,
}


class _Text:
    """Stands for text and bytes, which share a C++ type."""

    def __eq__(self, other: object) -> bool:
        return other in (str, bytes)

    __hash__ = None  # type: ignore[assignment]


SCALARS[FieldDescriptor.CPPTYPE_STRING] = _Text()  # type: ignore[assignment]


def plain(hint: Any) -> Any:
    return plain(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def members(hint: Any) -> tuple[Any, ...]:
    hint = plain(hint)
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def kind_of(member: type) -> str:
    return str(next(field.default for field in dataclasses.fields(member) if field.name == "kind"))


# Conversion


def parse(text: str, kind: type[Message]) -> Message:
    return text_format.Parse(text, kind())


def read(text: str) -> MaximizeActivationRequest:
    objective = "" if "objective" in text else 'objective { channel { layer: "conv1" } }'
    full = f'model {{ name: "net" }} {objective} {text}'
    return to_value(parse(full, maximization_pb2.MaximizeActivationRequest), MaximizeActivationRequest)


def test_what_is_unset_becomes_the_default_of_the_value() -> None:
    expected = MaximizeActivationRequest(
        model_values.ModelReference("net"), maximization_values.ChannelObjective("conv1", 0)
    )
    assert read("") == expected


def test_an_optional_zero_is_not_unset() -> None:
    value = read("seed: 0 parameterization { fourier { decay: 0 decorrelate_colors: false } }")
    assert value.seed == 0
    assert value.parameterization == maximization_values.FourierParameterization(decay=0, decorrelate_colors=False)


def test_a_union_without_a_case_is_unset_and_one_without_items_is_not() -> None:
    value = read("parameterization {} optimizer {} transforms {}")
    assert value.parameterization == maximization_values.FourierParameterization()
    assert value.optimizer == AdamOptimizer()
    assert value.transforms.items == ()


def test_a_choice_of_numbers_stays_a_field_of_its_message() -> None:
    frames = "frames { interval { seconds: 2 nanos: 500000000 } } linger { seconds: 3 }"
    value = read(f'{frames} objective {{ class_logit {{ label: "star" }} }}')
    assert value.frames == FrameOptions(every_steps=None, interval=2.5)
    assert value.linger == 3.0
    assert value.objective == ClassLogitObjective(label="star")


def test_a_union_of_one_case_converts_both_ways() -> None:
    value = read("optimizer { adam { learning_rate: 0.5 } }")
    message = to_message(value, maximization_pb2.MaximizeActivationRequest)
    assert message.optimizer.adam.learning_rate == 0.5


def test_enums_become_short_names_and_unset_ones_the_default() -> None:
    value = read("frames { every_steps: 0 encoding { format: IMAGE_FORMAT_JPEG } } result { encoding { quality: 5 } }")
    assert value.frames == FrameOptions(every_steps=0, encoding=ImageEncoding("jpeg"))
    assert value.result.encoding == ImageEncoding(None, 5)


def test_images_and_kernels_become_their_cases() -> None:
    text = (
        'images { encoded { data: "abc" media_type: "image/png" } } '
        'images { tensor { data_type: DATA_TYPE_UINT8 shape: [1, 2] data: "ab" } } '
        "kernel { named: KERNEL_NAME_SOBEL_X }"
    )
    value = to_value(parse(text, kernel_pb2.ApplyKernelRequest), kernel_values.ApplyKernelRequest)
    assert value.kernel == kernel_values.NamedKernel("sobel_x")
    assert value.images[0] == EncodedImage(b"abc", "image/png")
    assert isinstance(value.images[1], TensorImage)
    np.testing.assert_array_equal(value.images[1].tensor, np.array([[97, 98]], np.uint8))


def test_a_full_request_survives_the_way_there_and_back() -> None:
    text = """size { height: 64 width: 80 } steps: 9 pictures: 2 seed: 18446744073709551615
      linger { seconds: 1 nanos: 5000000 }
      objective { weighted_sum { terms { weight: -0.5 objective { neuron { layer: "a" channel: 1 row: 0 } } }
        terms { objective { weighted_sum { terms { objective { layer { layer: "b" } } } } } } } }
      transforms { items { jitter { fraction: 0.25 } } items { pad { pixels: 3 border: BORDER_MODE_GRAY } } }
      penalties { weight: 0.5 penalty { l1 {} } } stop_rules { plateau { window: 8 } } stop_rules { target {} }"""
    value = read(text)
    message = to_message(value, maximization_pb2.MaximizeActivationRequest)
    assert to_value(message, MaximizeActivationRequest) == value
    assert message.linger.nanos == 5_000_000
    assert message.stop_rules[1].WhichOneof("kind") == "target"


def test_replies_become_messages() -> None:
    described = to_message(model_values.GetModelResponse(model(request().model)), model_pb2.GetModelResponse).model
    assert described.reference.name == "net"
    assert described.inputs[0].data_type == 1
    assert (described.layers[0].kind, described.preprocessing.channel_order) == (
        "convolution",
        model_pb2.CHANNEL_ORDER_RGB,
    )
    extracted = to_message(filters(), filter_pb2.ExtractFiltersResponse)
    assert not extracted.HasField("bias")
    assert (extracted.figure.HasField("low"), extracted.figure.high) == (False, 0.5)
    assert list(extracted.weights.shape) == [1, 1, 2, 3]


def test_events_become_their_cases() -> None:
    event = to_message(result(), maximization_pb2.MaximizationEvent)
    assert event.WhichOneof("kind") == "result"
    assert event.result.duration.ToTimedelta().total_seconds() == 1.25
    assert event.result.stop_reason == maximization_pb2.STOP_REASON_STEPS
    assert np.frombuffer(event.result.history.data, "<f8").tolist() == [0, 1, 2, 3]
    shown = to_message(frame(3), maximization_pb2.MaximizationEvent)
    assert shown.frame.images[0].media_type == "image/webp"
    assert isinstance(frame(3), MaximizationFrame)


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_tensors_of_every_type_and_order_survive(name: str, shape: tuple[int, ...]) -> None:
    array = np.asfortranarray(np.random.default_rng(0).integers(0, 2, shape).astype(name)).byteswap()
    array = array.view(array.dtype.newbyteorder())
    text = kernel_values.ApplyKernelResponse((), array)
    message = to_message(text, kernel_pb2.ApplyKernelResponse).kernels
    assert len(message.data) == array.nbytes
    wrapped = kernel_pb2.ApplyKernelRequest(images=[{"encoded": {"data": b"x"}}], kernel={"values": message})
    kernel = to_value(wrapped, kernel_values.ApplyKernelRequest).kernel
    assert isinstance(kernel, kernel_values.CustomKernel)
    np.testing.assert_array_equal(kernel.values, array)
    assert kernel.values.dtype == np.dtype(name)
