"""Filters: the weights of a layer as numbers and as a figure, and kernels slid over pictures.

extraction.py    a request for the filters of a layer -> its response
figure.py        weights -> the figure
color.py         whether a layer reads the three colours of the picture
selection.py     the filters that a request chooses
application.py   a request to apply a kernel -> its response
kernels.py       the kernels that have names, and where they come from
sources.py       a kernel of a request -> its numbers, and what must be done to pictures before it
sliding.py       where a kernel stands on a picture
correlation.py   the sums themselves
separable.py     kernels that are the product of a column and a row
fourier.py       large kernels, through the Fourier transform
geometry.py      how much of an axis a kernel covers
borders.py       what stands beyond the border of a picture
rendering.py     responses -> pictures

Filters are (filter, channel, spatial...), whatever the layer; kernels are slid by cross-correlation, as networks do.
"""
