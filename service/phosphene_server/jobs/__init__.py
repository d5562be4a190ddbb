"""Admission and routing: what the front process does with a request between the contract and the worker.

front_desk.py   models, filters and kernels: finds the model, asks the worker
board.py        maximizations: admits, starts, lists, cancels and forgets jobs
job.py          one maximization: its state and events
layer.py        the maximization of a layer: one picture for each of many channels
layer_*.py      its request split into those of its pictures, its pace, its contact sheet, one watcher of it
audience.py     all watchers of a job, and when it ends for want of them
watcher.py      what every watcher is
watch.py        one watcher of a maximization: latest-wins for frames and progress, everything else in order
history.py      the frames that are kept for watchers who come late
loaded.py       which models the worker holds, as far as the front can tell
patience.py     a worker whose callers wait until it has started
pages.py        page tokens

No tensors, no protobuf, no threads: everything happens in one event loop.
"""
