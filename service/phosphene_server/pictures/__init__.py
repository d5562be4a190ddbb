"""Pictures: compressed bytes and arrays, and the drawings that responses and figures are made of.

decoding.py   the pictures of requests -> float32 (channel, height, width)
encoding.py   uint8 pictures -> PNG, JPEG or WebP
grid.py       many tiles -> one picture
sheet.py      many pictures with their labels -> one picture
strips.py     large pictures a few rows at a time
diverging.py  numbers below and above zero -> blue, white and red

Inside the service a picture is float32 RGB in [0, 1], (channel, height, width); one that is ready for a file is uint8,
(height, width, 3) or (height, width). Nothing here knows of networks.
"""
