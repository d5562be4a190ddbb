"""Imports TorchScript archives, traced and scripted, without running anything in them.

inspection.py     looks at an archive before torch does, and repacks what torch may see
nesting.py        refuses code that is nested deeper than PyTorch's parser bears
traced_inputs.py  shapes of the inputs with which a model was traced
signature.py      the inputs that a caller gives, and the arguments that are made of them
examples.py       likely inputs of a model that does not say its own
interpreter.py    walks the methods of the modules and runs their operators into a graph
frame.py          one call: its values and statements
control.py        branches and loops, with snapshots.py, merging.py and guards.py
values.py         what a program computes with
language.py       operators of numbers, with containers.py and questions.py (types, devices, modes)
schemas.py        arguments of operators by name
importer.py       a file -> a ModelGraph
"""

from phosphene_server.models.importers.torchscript.importer import import_torchscript

__all__ = ["import_torchscript"]
