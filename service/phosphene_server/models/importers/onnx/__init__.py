"""The ONNX importer: a .onnx file becomes a differentiable ModelGraph, operator by operator.

importer.py     the steps in order: read, check, translate, name, build
reading.py      the file and its external data, read without trusting either
tensors.py      ONNX data types and TensorProto -> torch
skeleton.py     the model without its weights, for the checker and for type inference
values.py       what an ONNX value is during translation: a constant, a node, or sizes
operation.py    one ONNX node as its handler sees it: inputs, attributes, and `call`, which folds constants
sizes.py        shape arithmetic in Python integers, so that it works at any batch and picture size
translation.py  walks the nodes through the table
naming.py       the author's layer names
operators/      the table operator -> handler, and the handlers by family
"""

from phosphene_server.models.importers.onnx.importer import import_onnx

__all__ = ["import_onnx"]
