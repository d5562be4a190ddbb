"""Objectives to messages and back."""

from phosphene._wire.building import build, invalid
from phosphene.errors import Unsupported
from phosphene.objectives import Channel, ClassLogit, Layer, Neuron, Objective, WeightedSum
from phosphene.v1 import maximization_pb2 as pb


def encode_objective(objective: Objective, path: str = "objective") -> pb.Objective:
    """The message of an objective.

    Raises:
        InvalidArgument: it is no objective, or one of its fields cannot hold its value.
    """
    match objective:
        case Channel():
            return pb.Objective(channel=build(pb.ChannelObjective, f"{path}.channel", **vars(objective)))
        case Neuron():
            return pb.Objective(neuron=build(pb.NeuronObjective, f"{path}.neuron", **vars(objective)))
        case Layer():
            return pb.Objective(layer=build(pb.LayerObjective, f"{path}.layer", **vars(objective)))
        case ClassLogit():
            return pb.Objective(class_logit=_class_logit(objective, f"{path}.class_logit"))
        case WeightedSum():
            return pb.Objective(weighted_sum=_weighted_sum(objective, f"{path}.weighted_sum"))
    raise invalid(path, expected="an objective, such as objectives.channel('conv3', 5)", value=objective)


def decode_objective(message: pb.Objective) -> Objective:
    """The objective in a message."""
    match message.WhichOneof("kind"):
        case "channel":
            return Channel(message.channel.layer, message.channel.channel)
        case "neuron":
            return _neuron(message.neuron)
        case "layer":
            return Layer(message.layer.layer)
        case "class_logit":
            target = message.class_logit.WhichOneof("target") or "index"
            return ClassLogit(getattr(message.class_logit, target))
        case "weighted_sum":
            return WeightedSum(tuple(_term(term) for term in message.weighted_sum.terms))
    raise Unsupported("the server uses a kind of objective that this client does not know; please upgrade it")


def _class_logit(objective: ClassLogit, path: str) -> pb.ClassLogitObjective:
    if isinstance(objective.target, str):
        return pb.ClassLogitObjective(label=objective.target)
    return build(pb.ClassLogitObjective, path, index=objective.target)


def _weighted_sum(objective: WeightedSum, path: str) -> pb.WeightedSumObjective:
    terms = [
        build(
            pb.WeightedObjective,
            f"{path}.terms[{index}]",
            weight=weight,
            objective=encode_objective(term, f"{path}.terms[{index}].objective"),
        )
        for index, (weight, term) in enumerate(objective.terms)
    ]
    return pb.WeightedSumObjective(terms=terms)


def _neuron(message: pb.NeuronObjective) -> Neuron:
    row = message.row if message.HasField("row") else None
    column = message.column if message.HasField("column") else None
    return Neuron(message.layer, message.channel, row, column)


def _term(message: pb.WeightedObjective) -> tuple[float, Objective]:
    weight = message.weight if message.HasField("weight") else 1.0
    return weight, decode_objective(message.objective)
