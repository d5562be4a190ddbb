"""Imports the archives of torch.export (.pt2) as data: JSON and raw weights, no unpickling, no symbolic algebra.

archive.py        an archive -> the program as JSON, and its tensors
arguments.py      JSON -> values
modules.py        which operations belong to which module call, and what each call returns
subgraphs.py      programs inside a program -> one program
trees.py          what the parts of a nested result are called
importer.py       a file -> a ModelGraph
"""

from phosphene_server.models.importers.torch_export.importer import import_torch_export

__all__ = ["import_torch_export"]
