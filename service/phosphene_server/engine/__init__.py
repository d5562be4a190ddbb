"""The engine: one loop that steps many maximizations together and does short tasks between two steps.

    inbox ──> Engine.run:  take messages and tasks │ start waiting jobs │ step one group │ report
                                                                                │
    job ── Outlet <── progress, frames, warnings, checkpoints, the result ──────┘
             └─ compresses pictures on other threads, tells everything in order

Jobs whose lanes have the same group key are stepped in one batch; owners of jobs get shares of the device by priority.

engine.py        the loop
job.py           one job, from its submission to its last event
lanes.py         what the engine asks of the pictures of a job; plain numbers and arrays come out
ascents.py       lanes that are ascents of `maximization/`

waiting_line.py  in which order jobs are started: priority, which ages
waiting_room.py  who is started now: model, lanes and memory must be there
footprints.py    what lanes take of the memory, and what fits
trials.py        how that is found out
memory.py        how it is measured, and how much there is

schedule.py      whose turn it is
stepping.py      a turn, and what happens when it fails
lane_limits.py   smaller batches after failures
timing.py        how long steps take

cadence.py       when to tell progress, frames and checkpoints, and how fast a job is
snapshots.py     pictures and numbers, copied from the device without waiting for it
outlet.py        the events of a job, in order, however long its pictures take to compress

library.py       the models that are loaded
loads.py         loads others beside the loop
task_line.py     short tasks, done between two steps
tasks.py         the table of them
errands.py       tasks with pictures, which need the loop only for their arithmetic

device.py        the device, and what its errors mean to a caller
failures.py      what a caller is told of an exception

Only ascents.py, tasks.py, device.py, memory.py and snapshots.py know torch; scheduling runs without a model and
without a device.
"""
