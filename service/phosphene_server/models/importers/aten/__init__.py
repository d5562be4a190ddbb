"""What the importers of TorchScript and torch.export share: both files are programs of aten operators.

table.py          aten operator -> functional torch operation and kind of layer, by family:
                  convolutions, matrix_products, normalizations, activations, pooling, arithmetic, reductions,
                  attention, resizing, shapes, creation
program.py        runs operators into a graph
variables.py      tensors that the program overwrites -> nodes that never change
views.py          which operators share memory
emitter.py        writes nodes, and knows an example of each value
layers.py         module calls -> rows of the layer table
flexibility.py    which axes of the inputs may have other lengths
archive.py        reads zip archives, after looking at them
"""
