"""Models: the repository that vouches for files, the importers that read them, and the graph that they all end in.

repository.py     names -> files, with manifests and digests; knows nothing of torch
manifest.py       the YAML beside a model file
importers/        onnx/, torchscript/, torch_export/: a file -> a ModelGraph, running no code from the file
graph.py          the ModelGraph: a differentiable torch.fx graph with a table of named layers, cut where asked
batching.py       any number of pictures, whatever batch the file fixes; where an activation has its pictures
builder.py        what importers fill a ModelGraph with
inputs.py         which input is the picture, how it is made, and what the others get
probing.py        what the graph does with pictures, found out by showing it some at load
observation.py    a run of the graph, noted without keeping it
preprocessing.py  RGB pictures in [0, 1] -> the input that the model was trained on
parity/           the graph against the runtime that the format belongs to, and its gradient against differences
loading.py        a ModelSource -> a LoadedModel
"""
