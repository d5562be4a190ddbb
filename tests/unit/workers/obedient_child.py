"""A worker process without an engine: what it does is the name in the task, and its settings' log level."""

import os
import sys
import time
from multiprocessing.connection import Connection

from phosphene_server.errors import InvalidArgument, NotFound
from phosphene_server.values.maximization import MaximizationProgress
from phosphene_server.values.work import JobProgressed
from phosphene_server.workers.messages import CancelJob, Ready, RunTask, StartFailed, SubmitJob, TaskAnswered


def answer(name: str) -> object:
    match name:
        case "exit":
            os._exit(7)
        case "fail":
            return NotFound("model", "nobody", ("somebody",))
        case "path":
            return tuple(sys.path)
        case "environment":
            return dict(os.environ)
        case "session":
            return os.getsid(0)
        case "input":
            return sys.stdin.read()
    return name


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    settings = connection.recv()
    if settings.device == "missing":
        connection.send(StartFailed(InvalidArgument("device", "missing", "cpu")))
        sys.exit(1)
    if settings.device == "slow":
        time.sleep(60)
    if settings.device == "broken":
        sys.exit(9)
    connection.send(Ready("cpu"))
    try:
        while True:
            match connection.recv():
                case RunTask(_, task) if task.reference.name == "garbage":
                    connection.send_bytes(b"garbage")
                case RunTask(number, task):
                    connection.send(TaskAnswered(number, answer(task.reference.name)))
                case SubmitJob(job):
                    connection.send(JobProgressed(job.job_id, MaximizationProgress(1, 2)))
                case CancelJob(job_id):
                    connection.send(JobProgressed(job_id, MaximizationProgress(2, 2)))
    except EOFError:
        time.sleep(60 if settings.device == "stubborn" else 0)


if __name__ == "__main__":
    main()
