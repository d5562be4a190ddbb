"""The engine: one loop that steps many maximizations together and does short tasks between two steps.

    inbox ──> Engine.run:  take messages and tasks │ start waiting jobs │ step one group │ report
                                                                                │
    job ── Outlet <── progress, frames, warnings, checkpoints, the result ──────┘
             └─ compresses pictures on other threads, tells everything in order

Jobs whose lanes have the same group key are stepped in one batch; groups take turns so that each gets the same time.

lanes.py      what the engine asks of the pictures of a job; plain numbers and arrays come out
ascents.py    lanes that are ascents of `maximization/`
schedule.py   whose turn it is
cadence.py    when to tell progress, frames and checkpoints, and how fast a job is
outlet.py     the events of a job, in order, however long its pictures take to compress
job.py        one job, from its submission to its last event
engine.py     the loop
library.py    the models that are loaded
tasks.py      the table of short tasks
device.py     the device, and what its errors mean to a caller
failures.py   what a caller is told of an exception

Only ascents.py, tasks.py and device.py know torch; scheduling runs without a model or a device.
"""
