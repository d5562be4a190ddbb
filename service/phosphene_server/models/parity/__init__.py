"""How far the differentiable graph is from the runtime that the file was made for, on the same input.

measurement.py         runs both and compares; names the first layer that departs
original.py            what every format's own runtime offers for that
onnx_runtime.py        ONNX files in ONNX Runtime
torchscript.py         TorchScript files in PyTorch's interpreter, after they have been inspected
torchscript_layers.py  the values of their module calls
torch_export.py        torch.export files: their own aten operators, one after the other
gradients.py           the gradient of the graph against differences of its own values
deviations.py          how far two arrays are apart, and how far is too far
"""

from phosphene_server.models.parity.gradients import GradientCheck, check_gradient
from phosphene_server.models.parity.measurement import Comparison, layer_deviations, measure_parity

__all__ = ["Comparison", "GradientCheck", "check_gradient", "layer_deviations", "measure_parity"]
