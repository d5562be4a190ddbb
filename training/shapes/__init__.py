"""The bundled network `shapes`: 24 textures, outlines and colours that we draw ourselves, and a small network for them.

The service needs something true to show before anybody has downloaded a model. Hand-made weights would only prove that
we can draw; so this package draws its own data, trains a network on it and writes the files that the service carries:

    python -m training.shapes.train     # draws and trains, writes build/shapes/checkpoint.pt
    python -m training.shapes.export    # reads that, writes service/phosphene_server/models/bundled/shapes/1/

Both are seeded. Two runs on one machine agree; another machine rounds differently and ends with other weights, as good.
"""
