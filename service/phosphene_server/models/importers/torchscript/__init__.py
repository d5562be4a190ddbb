"""Imports TorchScript archives, traced and scripted, without running anything in them.

inspection.py     looks at an archive before torch does, and repacks what torch may see
interpreter.py    walks the methods of the modules and runs their operators into a graph
language.py       what the interpreter does for the operators of the language: numbers, lists, attributes
importer.py       a file -> a ModelGraph
"""

from phosphene_server.models.importers.torchscript.importer import import_torchscript

__all__ = ["import_torchscript"]
