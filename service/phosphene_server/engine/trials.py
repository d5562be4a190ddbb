"""Measuring what a lane of a new kind of job takes, at the cost of no step where that is possible.

A job of one picture is measured on its own first steps. They are made alone: the first one also builds what all lanes
of the kind share and what stays, and the second one is measured. Until then the job counts as too large for company.

A job of several pictures cannot be tried like that, as it may not fit at all. Before it is started, two steps of a
single picture are made and thrown away; a step of the job itself takes longer than both.
"""

from dataclasses import replace

from phosphene_server.engine.footprints import Footprint
from phosphene_server.engine.lanes import LanesKind, Maximizer
from phosphene_server.values.work import MaximizationJob

TRIAL_STEPS = 2
"""Steps of a new kind of job that are made alone, the last of them measured."""


def measure_one_picture(maximizer: Maximizer[LanesKind], job: MaximizationJob) -> Footprint:
    """Measure a lane of a job on one that is thrown away.

    Raises:
        PhospheneError: the job cannot be run, or not even this fits.
    """
    one = replace(job, request=replace(job.request, pictures=1), checkpoint=None)
    lanes = maximizer.begin(one, None)
    try:
        for _ in range(TRIAL_STEPS - 1):
            maximizer.step([lanes])
        return maximizer.measured_step(lanes)
    finally:
        lanes.release()
