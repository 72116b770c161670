"""The entry point of a worker pod.

Environment: EASEL_JOB_NAME, EASEL_JOB_NAMESPACE, EASEL_JOB_UID, EASEL_ENDPOINT (HOST:PORT of the model's headless
Service; empty where a class has no own model), EASEL_PRIORITY (of its steps in the engine, 0 when unset). Exit codes: 0 all done, 1 failed for good, 2 the input is wrong, 3 the environment is; the batch Job takes these
as final. Anything else, 143 after SIGTERM among it, is started again and goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

from easel_api.errors import Cancelled, EaselError, EnvironmentFault, ExitCode
from easel_api.generationjob import GenerationJob
from easel_inference.artifacts import keys
from easel_inference.ending import TERMINATED, say_why, stopped_by_signals

from .access import Api, JobAccess, Server, StatusReporter, was_paid
from .items import Item
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
    routed = settings.generation_class is not None
    api = Api(Server.in_cluster(settings.service_account), stop)
    access = JobAccess(api, settings.job)
    with _kept_for_the_next(lambda: routed):
        found = access.read()
    with _kept_for_the_next(lambda: was_paid(found.status)):
        # Until it is known what is there, what an earlier worker said of it holds, and why that one ended does not.
        early = Tally(found.spec.item_count(), found.spec.parameters.steps, time.monotonic)
        with ReportLoop(StatusReporter(access, found.status), early.snapshot):
            try:
                worker = _worker(found, settings, stop)
                missing = worker.claim()
            except Cancelled:
                raise
            except EaselError as error:
                early.broke(error)
                raise
        with ReportLoop(StatusReporter(access), worker.tally.snapshot), _kept_for_the_next(lambda: worker.calls_out):
            return _made(worker, missing, found, api, settings, stop)


def _made(
    worker: Worker,
    missing: tuple[Item, ...],
    found: GenerationJob,
    api: Api,
    settings: Settings,
    stop: threading.Event,
) -> Outcome:
    if found.spec.generation_class_name is None:
        if not settings.endpoint:
            raise EnvironmentFault("this variable is not set", where="EASEL_ENDPOINT", fix="The operator sets it")
        return generate_at(worker, missing, settings.endpoint, _backend_name(found, settings.endpoint), stop)
    if not missing and all(record.cost is None for record in worker.ledger.records()):
        worker.tally.expect(Decimal(0))
        return worker.outcome(stop)
    # Imported here: a job of the team's own models needs none of it.
    from .routes import routed

    with routed(worker, len(missing), found, api, settings, stop) as routes:
        outcome = worker.run(missing, routes.backend, stop)
        routes.insights.run()
        return outcome


@contextlib.contextmanager
def _kept_for_the_next(paid: Callable[[], bool]) -> Iterator[None]:
    """What is paid for and not there yet is not given up for a fault of the surroundings: the next worker may find them mended.

    The batch Job starts as many as its backoffLimit says; behind that the job has failed.
    """
    try:
        yield
    except Cancelled:
        raise
    except EaselError as error:
        if not paid() or not (error.retryable or error.blame == "platform"):
            raise
        _log.error("%s: %s", error.reason, error)
        say_why(error)
        raise Cancelled(
            "a provider's results are still to be fetched", where=error.where, found=error.reason, fix=error.fix
        ) from error


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
