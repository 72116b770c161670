"""How a job ended, and why: from the worker's report, its pod's last words or the batch Job's conditions."""

from __future__ import annotations

from easel_api.errors import (
    ERRORS,
    BackendFault,
    Cancelled,
    EaselError,
    EnvironmentFault,
    ExitCode,
    InvalidInput,
    QuotaExhausted,
)
from easel_api.generationjob import Failure
from easel_operator.core import pods as podstatus
from easel_operator.core.observed import DEADLINE_EXCEEDED, JobView, Pod, Trouble


def failure_of(view: JobView, ended: Trouble) -> Failure:
    """Why a failed batch Job failed, in the words of whoever knows most."""
    attempt = view.batch_job.failed if view.batch_job else 0
    if ended.reason == DEADLINE_EXCEEDED:
        return Failure(
            reason=DEADLINE_EXCEEDED, message="spec.deadlineSeconds: the job ran for longer than that", attempt=attempt
        )
    return view.status.last_failure or last_words(view.pods, attempt) or _guess(view.pods, ended, attempt)


def last_words(pods: tuple[Pod, ...], attempt: int) -> Failure | None:
    """What the newest pod that said something said: `Reason: message`."""
    for pod in sorted(pods, key=lambda pod: pod.created, reverse=True):
        if said := podstatus.last_words(pod):
            retryable = ERRORS[said.reason].retryable
            return Failure(reason=said.reason, message=said.message[:1024], attempt=attempt, retryable=retryable)
    return None


_BY_EXIT_CODE: dict[int, type[EaselError]] = {
    ExitCode.INVALID_INPUT: InvalidInput,
    ExitCode.ENVIRONMENT: EnvironmentFault,
}


def _guess(pods: tuple[Pod, ...], ended: Trouble, attempt: int) -> Failure:
    terminations = [pod.termination for pod in sorted(pods, key=lambda pod: pod.created) if pod.termination]
    newest = terminations[-1] if terminations else None
    if newest and newest.reason == "OOMKilled":
        return Failure(
            reason=QuotaExhausted.reason,
            message="the worker ran out of memory; raise worker.resources of the chart",
            attempt=attempt,
        )
    error = _BY_EXIT_CODE.get(newest.exit_code, BackendFault) if newest else BackendFault
    said = f"the worker ended with exit code {newest.exit_code}" if newest else "the worker did not finish"
    message = f"{said} ({ended.reason}: {ended.message})"
    return Failure(reason=error.reason, message=message[:1024], attempt=attempt, retryable=error.retryable)


def cancelled() -> Failure:
    """Why a cancelled job failed."""
    return Failure(reason=Cancelled.reason, message="spec.cancel is true; finished items are kept")
