"""What the importers of TorchScript and torch.export share: both files are programs of aten operators.

table.py          aten operator -> functional torch operation and kind of layer, by family:
                  convolutions, matrix_products, normalizations, activations, pooling, arithmetic, reductions,
                  attention, resizing, shapes, indexing, joining, creation, fourier, linear_algebra, statistics,
                  special_functions, recurrent, quantization
program.py        runs operators into a graph
branches.py       branches that are chosen when the graph runs
variables.py      tensors that the program overwrites -> nodes that never change
views.py          which operators share memory
emitter.py        writes nodes, and knows an example of each value
layers.py         module calls -> rows of the layer table
batch.py          frees the batch of a program that was written down at one batch size
conjecture.py     what a program would be like for any batch
examples.py       what operations give for tensors without numbers
evaluation.py     evaluates a graph that is still being written
flexibility.py    which axes of the inputs may have other lengths
archive.py        reads zip archives, after looking at them
"""
