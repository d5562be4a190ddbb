"""The engine: one loop that steps many maximizations together and does short tasks between two steps.

    inbox ──> Engine.run:  take messages and tasks │ start waiting jobs │ step one group │ report
                                                                                │
    job ── Outlet <── progress, frames, warnings, checkpoints, the result ──────┘
             └─ compresses pictures on other threads, tells everything in order

Jobs whose lanes have the same group key are stepped in one batch; owners of jobs get shares of the device by priority.

lanes.py         what the engine asks of the pictures of a job; plain numbers and arrays come out
ascents.py       lanes that are ascents of `maximization/`
schedule.py      whose turn it is, and who is stepped along
lane_limits.py   how many lanes of a group fit into one step
stepping.py      one turn, what it is charged, and what happens when it fails
timing.py        how long steps take
waiting_room.py  the jobs that wait: for their model, for memory, for their turn
waiting_line.py  their order
footprints.py    what a lane takes, and the book of what is taken
memory.py        measuring it
cadence.py       when to tell progress, frames and checkpoints, and how fast a job is
snapshots.py     copies of pictures and numbers for the host, taken without waiting
outlet.py        the events of a job, in order, however long its pictures take to compress
job.py           one job, from its submission to its last event
engine.py        the loop
loads.py         models that are loaded beside the loop
library.py       the models that are loaded
tasks.py         the table of short tasks
task_line.py     the tasks that wait for the end of a step
errands.py       tasks, or parts of them, that are done beside the steps
trials.py        what a lane takes, measured at its first step
device.py        the device, its clock, and what its errors mean to a caller
failures.py      what a caller is told of an exception

Only ascents.py, tasks.py, device.py, memory.py and snapshots.py know torch; scheduling runs without a model and
without a device.
"""
