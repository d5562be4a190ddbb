"""What a worker process runs: `python -m phosphene_server.workers.child DESCRIPTOR`.

The descriptor is one end of a socket pair. A thread reads commands from it into the engine's inbox; the engine runs in
the main thread; whoever has something to tell writes under a lock, and so waits when the front does not read. When the
other end is closed, the process ends.
"""

import logging
import os
import signal
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection

from phosphene_server.engine.ascents import AscentLanes, AscentMaximizer, steps_on
from phosphene_server.engine.device import CudaTimer, compute_alone, device_errors, lanes_per_step, open_device
from phosphene_server.engine.engine import Engine
from phosphene_server.engine.failures import DeviceLost
from phosphene_server.engine.library import ModelLibrary
from phosphene_server.engine.memory import budget_bytes, model_bytes
from phosphene_server.engine.tasks import Workplace, run_task
from phosphene_server.errors import PhospheneError
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.pictures.encoding import encode
from phosphene_server.settings import Settings
from phosphene_server.values.work import BetweenSteps, ModelSource, Task, TaskReply
from phosphene_server.workers.messages import (
    CancelJob,
    Command,
    Ready,
    Report,
    RunTask,
    StartFailed,
    SubmitJob,
    TaskAnswered,
)

logger = logging.getLogger(__name__)

END_SECONDS = 3.0
"""How long a step may still take after the front has hung up; then the process ends in the middle of it."""

DEVICE_LOST_EXIT_CODE = 3


class ChildLine:
    """The worker's end of the line."""

    def __init__(self, connection: "Connection[Report, Command | Settings]") -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def tell(self, report: Report) -> None:
        """Send a report; nothing happens when nobody is there any more."""
        with self._lock:
            try:
                self._connection.send(report)
            except OSError:
                logger.debug("The front has hung up.")

    def obey(self, engine: Engine[AscentLanes]) -> None:
        """Hand commands to the engine until the front hangs up, then end the engine, if need be with the process."""
        try:
            while True:
                self._hand_over(self._connection.recv(), engine)
        except (EOFError, OSError):
            engine.stop()
        end = threading.Timer(END_SECONDS, os._exit, (0,))
        end.daemon = True
        end.start()

    def _hand_over(self, command: Command | Settings, engine: Engine[AscentLanes]) -> None:
        match command:
            case RunTask(number, task):
                engine.do(task, partial(self._answer, number))
            case SubmitJob(job):
                engine.submit(job)
            case CancelJob(job_id):
                engine.cancel(job_id)

    def _answer(self, number: int, answer: TaskReply | PhospheneError) -> None:
        self.tell(TaskAnswered(number, answer))


def make_engine(settings: Settings, line: ChildLine) -> tuple[Engine[AscentLanes], str]:
    """Put the engine of a process together; also return the name of its device.

    Raises:
        InvalidArgument: the settings name a device that is not there.
    """
    device = open_device(settings)

    def load(source: ModelSource) -> LoadedModel:
        with device_errors():
            return load_model(source, device)

    def do(task: Task, between_steps: BetweenSteps) -> TaskReply:
        return run_task(task, Workplace(library, device, between_steps))

    library = ModelLibrary(load, limit=settings.loaded_models, size_bytes=lambda model: model_bytes(model.graph.module))
    engine = Engine(
        settings,
        models=library,
        maximizer=AscentMaximizer(library, device, step=steps_on(device, captured=settings.cuda_graphs)),
        run_task=do,
        encode=encode,
        tell=line.tell,
        lanes_per_step=lanes_per_step(settings, device),
        memory_bytes=budget_bytes(settings.memory_bytes, device),
        timer=CudaTimer() if device.type == "cuda" else None,
        prepare_helper=compute_alone,
    )
    return engine, str(device)


def main() -> None:
    """Work until the front hangs up."""
    # What ends the service is for the front to hear; it drains first and hangs up then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection: Connection[Report, Command | Settings] = Connection(int(sys.argv[1]))
    try:
        settings = connection.recv()
    except EOFError:
        return
    assert isinstance(settings, Settings)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s worker: %(message)s")
    line = ChildLine(connection)
    try:
        engine, device = make_engine(settings, line)
    except PhospheneError as error:
        line.tell(StartFailed(error))
        sys.exit(1)
    threading.Thread(target=line.obey, args=(engine,), name="commands", daemon=True).start()
    line.tell(Ready(device))
    try:
        engine.run()
    except DeviceLost:
        logger.critical("The device is lost; the process ends, to be started anew.", exc_info=True)
        os._exit(DEVICE_LOST_EXIT_CODE)  # an orderly end would wait for the device
    os._exit(0)  # nobody listens any more, and an orderly end takes torch half a second


if __name__ == "__main__":
    main()
