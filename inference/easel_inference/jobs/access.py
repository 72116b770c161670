"""The GenerationJob of this pod at the API server: read it, write the worker's part of its status.

Plain HTTPS with the pod's service-account token: importing the `kubernetes` client would cost more than the worker's whole
start. Status is written by server-side apply under the worker's own field manager, so that the worker and the operator never
undo each other.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from pydantic import BaseModel, ValidationError

from easel_api import API_VERSION, GROUP, VERSION
from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, InvalidInput, NotFound, Transient, shortened
from easel_api.generationjob import (
    KIND,
    MAX_SHARE_MESSAGE,
    MAX_SHARES,
    Artifact,
    BackendShare,
    Cost,
    Failure,
    GenerationJob,
    GenerationJobStatus,
    ItemCounts,
    Progress,
)
from easel_inference.generation import Chosen

from .progress import LastFailure, Share, Snapshot

_log = logging.getLogger(__name__)

FIELD_MANAGER = "easel-worker"
OF_ITEMS = ("items", "done", "progress", "cost", "backends", "manifest", "artifacts")
"""Fields of a status by which a worker tells what has become of its items."""
_READ_TRIES = 8
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"

K = TypeVar("K", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class JobName:
    """Which object, and which life of it."""

    name: str
    namespace: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """An API server and how to speak to it."""

    url: str
    certificate_authority: Path | None
    token: Path | None

    @classmethod
    def in_cluster(cls, account: Path) -> Server:
        """The one of this pod, whose service account is mounted at `account`; `EnvironmentFault` outside of a pod."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port or not (account / "token").is_file():
            raise EnvironmentFault(
                "this is not a pod with a service account",
                where=str(account),
                found="no token" if host else "no KUBERNETES_SERVICE_HOST",
                fix="The operator starts workers; on one machine use: easel run FILE",
            )
        bracketed = f"[{host}]" if ":" in host else host
        return cls(f"https://{bracketed}:{port}", account / "ca.crt", account / "token")


class Api:
    """Asks the API server. Safe for many threads."""

    def __init__(self, server: Server, stop: threading.Event) -> None:
        """`stop` ends the waits between tries."""
        self._server, self._stop = server, stop
        authority = server.certificate_authority
        self._http = urllib3.PoolManager(
            ca_certs=None if authority is None else str(authority),
            timeout=urllib3.Timeout(connect=5, read=10),
            retries=False,
        )
        self._moment: tuple[datetime, float] | None = None
        """The API server's clock at the last answer, and ours."""

    def today(self) -> date:
        """In UTC, as windows of spend are, by the API server's clock: one that all workers of all nodes have in common."""
        if self._moment is None:
            return datetime.now(UTC).date()
        told, at = self._moment
        return (told + timedelta(seconds=time.monotonic() - at)).date()

    def read(self, path: str, what: str) -> bytes:
        """The object at a path, `what` for a person; tries again while the API server is away."""
        last = ""
        for attempt in range(_READ_TRIES):
            try:
                return self.answer("GET", path, what)
            except Transient as error:
                last = error.found
                if self._stop.wait(min(0.5 * 2**attempt, 10)):
                    break
        raise EnvironmentFault(
            "the Kubernetes API does not answer", where=self._server.url, found=last, fix="Check the API server"
        )

    def answer(self, method: str, path: str, what: str, body: bytes | None = None, media_type: str = APPLY) -> bytes:
        """One request; raises `Conflict` when the object has changed meanwhile."""
        headers = {"Accept": "application/json"}
        if self._server.token is not None:
            # Read each time: the kubelet renews the file.
            headers["Authorization"] = f"Bearer {self._server.token.read_text().strip()}"
        if body is not None:
            headers["Content-Type"] = media_type
        try:
            response = self._http.request(method, self._server.url + path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise Transient("the Kubernetes API does not answer", found=type(error).__name__) from error
        with contextlib.suppress(TypeError, ValueError):
            self._moment = parsedate_to_datetime(str(response.headers.get("Date"))), time.monotonic()
        if response.status >= 300:
            raise _refused(method, what, response.status, response.data)
        return response.data


def parsed(kind: type[K], data: bytes, what: str, where: str = "") -> K:
    """An object as the API server gave it; `InvalidInput` with its first wrong field, behind `where`, when this worker does not understand it."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(
            f"this worker does not understand {what}: {first['msg']}",
            where=where + ".".join(str(part) for part in first["loc"]),
            fix="Run operator, worker and CRDs of one release",
        ) from error


class Conflict(Transient):
    """Somebody else has changed the object; never leaves `jobs`."""


class JobAccess:
    """Reads one GenerationJob and writes its status. Safe for many threads."""

    def __init__(self, api: Api, job: JobName) -> None:
        self._api, self._job = api, job
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{job.namespace}/{KIND.plural}/{job.name}"
        self._what = f"generationjob {job.namespace}/{job.name}"

    def read(self) -> GenerationJob:
        """The object as it is; tries again while the API server is away."""
        return self._parsed(self._api.read(self._path, self._what))

    def write_status(self, status: GenerationJobStatus) -> None:
        """Applies the worker's part of the status once, complete: server-side apply drops what is left out. Raises on failure."""
        applied = {
            "apiVersion": API_VERSION,
            "kind": KIND.kind,
            "metadata": self._metadata(),
            "status": status.to_manifest(),
        }
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        self._api.answer("PATCH", f"{self._path}/status{query}", self._what, json.dumps(applied).encode())

    def _metadata(self) -> dict[str, str]:
        # With its uid a status never lands on a later job of the same name.
        uid = {"uid": self._job.uid} if self._job.uid else {}
        return {"name": self._job.name, "namespace": self._job.namespace, **uid}

    def _parsed(self, data: bytes) -> GenerationJob:
        job = parsed(GenerationJob, data, "the job")
        if self._job.uid and job.metadata.uid != self._job.uid:
            raise NotFound("the job was deleted and made anew", where=f"generationjob {self._job.name}")
        return job


def _refused(method: str, what: str, status: int, body: bytes) -> EaselError:
    if status == 404:
        return NotFound("it is gone, or never was", where=what, found=_reason(body))
    if status in (401, 403):
        return AuthConfig(
            f"the worker's service account may not {method.lower()} this",
            where=what,
            found=_reason(body),
            fix="Install the chart's role easel-worker in this namespace",
        )
    if status == 409:
        return Conflict("the object has changed meanwhile", where=what)
    if status == 429 or status >= 500:
        return Transient("the Kubernetes API is busy", found=f"HTTP {status}")
    return EnvironmentFault("the Kubernetes API refused the request", where=what, found=_reason(body))


def status_of(snapshot: Snapshot) -> GenerationJobStatus:
    """The worker's part of a status, complete."""
    failure = snapshot.last_failure
    fields: dict[str, Any] = {
        "items": ItemCounts(
            total=snapshot.total, succeeded=snapshot.succeeded, failed=snapshot.failed, running=snapshot.running
        ),
        "done": f"{snapshot.succeeded}/{snapshot.total}",
        "progress": Progress(
            percent=snapshot.percent,
            steps_done=snapshot.steps_done,
            steps_total=snapshot.steps_total,
            eta_seconds=snapshot.eta_seconds,
        ),
        "artifacts": [
            Artifact(
                item=stored.item,
                uri=stored.delivered.uri,
                sha256=stored.delivered.sha256,
                bytes=stored.delivered.bytes,
                media_type=stored.delivered.media_type,
                seed=stored.seed,
            )
            for stored in snapshot.artifacts
        ],
    }
    if snapshot.spent is not None or snapshot.estimated is not None or snapshot.unpriced:
        fields["cost"] = _cost(snapshot)
    if snapshot.backends:
        fields["backends"] = [_share(each) for each in snapshot.backends[:MAX_SHARES]]
    if snapshot.waiting is not None:
        fields["waiting_for"] = _said(snapshot.waiting)
    if snapshot.manifest:
        fields["manifest"] = snapshot.manifest
    if failure is not None:
        fields["last_failure"] = _failure(failure)
    return GenerationJobStatus(**fields)


def _cost(snapshot: Snapshot) -> Cost:
    cost = Cost(spent=snapshot.spent, estimated=snapshot.estimated, currency="USD")
    return cost.model_copy(update={"unpriced": snapshot.unpriced}) if snapshot.unpriced else cost


def _share(share: Share) -> BackendShare:
    choice = share.choice
    return BackendShare(
        name=choice.backend,
        items=share.items,
        selected_reason=choice.selected_reason,
        message=_said(choice),
    )


def _said(choice: Chosen) -> str:
    """Who was passed over, in short."""
    return shortened("; ".join(f"{name}: {why}" for name, why in choice.passed_over.items()), MAX_SHARE_MESSAGE)


def _failure(failure: LastFailure) -> Failure:
    return Failure(
        reason=failure.error.reason,
        message=str(failure.error)[:2048],
        item=failure.item,
        attempt=failure.attempt,
        retryable=failure.error.retryable,
    )


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body).get("message", ""))[:200]
    except (ValueError, AttributeError):
        return ""


class StatusReporter:
    """Reports to the job's status."""

    interval_seconds = 2.0

    def __init__(self, access: JobAccess, earlier: GenerationJobStatus | None = None) -> None:
        """`earlier` holds, but for the failure, where this worker knows no more than the one that wrote it."""
        self._access, self._earlier = access, earlier

    def show(self, snapshot: Snapshot) -> None:
        """Writes the status once."""
        status = status_of(snapshot)
        self._access.write_status(status if self._earlier is None else behind(self._earlier, status))


def behind(earlier: GenerationJobStatus, status: GenerationJobStatus) -> GenerationJobStatus:
    """A status of a worker that ended before it knew what is there, behind that of another."""
    if earlier.items is None:
        return status
    kept = {name: getattr(earlier, name) for name in OF_ITEMS if name in earlier.model_fields_set}
    kept["items"] = earlier.items.model_copy(update={"running": 0})
    return GenerationJobStatus(**kept, last_failure=status.last_failure)


def was_paid(status: GenerationJobStatus) -> bool:
    """Whether a provider was paid, or may have been."""
    return status.cost is not None and (status.cost.spent is not None or status.cost.unpriced > 0)
