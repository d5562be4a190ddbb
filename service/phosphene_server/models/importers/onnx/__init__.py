"""The ONNX importer: a .onnx file becomes a differentiable ModelGraph, operator by operator.

importer.py     the steps in order: read, check, expand, translate, name, build
reading.py      the file and its external data, read without trusting either
walking.py      nodes, subgraphs and tensors of a file, nested ones included
tensors.py      ONNX data types and TensorProto -> torch; sparse.py, SparseTensorProto
skeleton.py     the model without its weights, for the checker and for type inference
value_types.py  what is known of values before they are computed
functions.py    operators that are functions of others: calls replaced by bodies
translation.py  a model into a ModelGraph: inputs, nodes, outputs, layers
nodes.py        walks the nodes of a graph through the table
subgraphs.py    branches and bodies of loops as modules that take what they read of the graphs around them
late.py         nodes whose handlers need what only an evaluation knows: translated then
values.py       what an ONNX value is during translation: a constant, a node, sizes, a sequence
constants.py    the tensors that are known at import: their names, and the nodes that read them
arguments.py    what a node comes with: attributes and inputs, as far as they are known at import
operation.py    one ONNX node as its handler sees it: its arguments, and `call`, which folds constants
sizes.py        shape arithmetic in Python integers, so that it works at any batch and picture size
naming.py       the author's layer names
operators/      the table operator -> handler, and the handlers by family
"""

from phosphene_server.models.importers.onnx.importer import import_onnx

__all__ = ["import_onnx"]
