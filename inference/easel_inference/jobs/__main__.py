"""The entry point of a worker pod.

Environment: EASEL_JOB_NAME, EASEL_JOB_NAMESPACE, EASEL_JOB_UID, EASEL_ENDPOINT (HOST:PORT of the model's headless
Service), EASEL_PRIORITY (of its steps in the engine, 0 when unset). Exit codes: 0 all done, 1 failed for good, 2 the input is wrong, 3 the environment is; the batch Job takes these
as final. Anything else, 143 after SIGTERM among it, is started again and goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time

from easel_api.errors import Cancelled, EaselError, ExitCode
from easel_api.generationjob import GenerationJob
from easel_inference.artifacts import keys
from easel_inference.ending import TERMINATED, say_why, stopped_by_signals

from .access import JobAccess, Server, StatusReporter
from .opening import open_sources, open_store
from .progress import Tally
from .report import ReportLoop
from .settings import Settings
from .worker import Job, Outcome, Worker, generate_at

_log = logging.getLogger("easel.worker")


def main() -> int:
    """Runs the job of this pod; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = stopped_by_signals()
    try:
        outcome = _run(Settings.read(os.environ), stop)
    except Cancelled:
        _log.info("stopped; the next worker goes on from here")
        return TERMINATED
    except EaselError as error:
        if stop.is_set():
            return TERMINATED  # what fails while everything is being stopped says nothing about the job
        _log.error("%s: %s", error.reason, error)
        say_why(error)
        return int(error.exit_code)
    _log.info("done: %d stored, %d failed, manifest %s", outcome.succeeded, outcome.failed, outcome.manifest)
    return int(ExitCode.DONE)


def _run(settings: Settings, stop: threading.Event) -> Outcome:
    access = JobAccess(Server.in_cluster(settings.service_account), settings.job, stop)
    found = access.read()
    reporter = StatusReporter(access)
    try:
        worker = _worker(found, settings, stop)
    except EaselError as error:
        early = Tally(found.spec.item_count(), found.spec.parameters.steps, time.monotonic)
        early.broke(error)
        with ReportLoop(reporter, early.snapshot):
            raise
    with ReportLoop(reporter, worker.tally.snapshot):
        return generate_at(worker, worker.claim(), settings.endpoint, _backend_name(found, settings.endpoint), stop)


def _worker(found: GenerationJob, settings: Settings, stop: threading.Event) -> Worker:
    store, prefix = open_store(found.spec, settings.places, stop)
    metadata = found.metadata
    folder = keys.folder(prefix, metadata.name)
    job = Job(metadata.name, metadata.namespace or "", metadata.uid, found.spec, folder, settings.priority)
    return Worker(job, store, open_sources(found.spec, settings.places, stop), time.monotonic)


def _backend_name(found: GenerationJob, endpoint: str) -> str:
    """What the operator chose, or, before it has said so, the Service's name."""
    chosen = found.status.backend
    return (chosen.model_deployment if chosen else "") or endpoint.split(".", maxsplit=1)[0].split(":", maxsplit=1)[0]


if __name__ == "__main__":
    sys.exit(main())
