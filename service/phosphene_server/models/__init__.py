"""Models: the repository that vouches for files, the importers that read them, and the graph that they all end in.

repository.py     names -> files, with manifests and digests; knows nothing of torch
manifest.py       the YAML beside a model file
importers/        onnx/, torchscript/, torch_export/: a file -> a ModelGraph, running no code from the file
graph.py          the ModelGraph: a differentiable torch.fx graph with a table of named layers, cut where asked
builder.py        what importers fill a ModelGraph with
preprocessing.py  RGB pictures in [0, 1] -> the input that the model was trained on
parity.py         the graph against the runtime that the format belongs to
loading.py        a ModelSource -> a LoadedModel
"""
