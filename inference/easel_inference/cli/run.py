"""`easel run`: the main job on this machine, by the same worker, server and engine as in a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from easel_api.errors import EaselError, ExitCode, NotFound, Unsupported
from easel_api.generationjob import GenerationJob
from easel_api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from easel_api.tasks import OWN, TAKES, needed_for
from easel_inference.artifacts import keys
from easel_inference.artifacts.directory import DirectoryStore
from easel_inference.artifacts.manifest import ItemState
from easel_inference.artifacts.stores import Store
from easel_inference.jobs.opening import Places, open_sources, open_store
from easel_inference.jobs.report import ReportLoop
from easel_inference.jobs.worker import Job, Worker, generate_at
from easel_inference.serving.local import LocalServer, start_local

from . import terminal
from .manifests import Documents, load
from .sheet import Entry, contact_sheet
from .stopping import Stop, deadline, server_watched, signals

_NO_CREDENTIALS_FOLDER = Path("/nonexistent")
_SHOWN_FAILURES = 10
_SHEET = "contact-sheet.png"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one job's results go."""

    store: Store
    folder: str
    sheet: Path
    """Where the contact sheet goes, which stays on this machine."""


def run(files: Sequence[str], out: str | None) -> ExitCode:
    """Runs every job of the files, one after another."""
    documents = load(files, for_cluster=False)
    if not documents.jobs:
        raise NotFound("there is no GenerationJob", where=", ".join(files), fix="Add one; examples/mugs.yaml shows how")
    # Everything that can be wrong is found before the first model is loaded.
    chosen = [(job, _choose(job, documents)) for job in documents.jobs]
    for job, model in chosen:
        code = _run_one(job, model, documents, out, alone=len(chosen) == 1)
        if code is not ExitCode.DONE:
            return code
    return ExitCode.DONE


def _choose(job: GenerationJob, documents: Documents) -> ModelDeployment:
    """The first backend of the job that the files have, that can do the task and has the adapters."""
    names = [reference.model_deployment or "" for reference in job.spec.backends] or _own_of_class(job, documents)
    found = [documents.models[name] for name in names if name in documents.models]
    if not found:
        raise NotFound(
            "no ModelDeployment of that name is in the files",
            where=f"{job.metadata.name}: spec.backends[0].modelDeployment",
            found=names[0],
            fix="Add it to the file or name a second file, such as examples/modeldeployment.yaml",
        )
    able = [model for model in found if model.spec.may_do(job.spec.task)]
    if not able:
        raise Unsupported(
            f"{found[0].metadata.name} cannot do this task",
            where=f"{job.metadata.name}: spec.task",
            found=job.spec.task.value,
            fix=f"It needs {needed_for(job.spec.task)}"
            if job.spec.task in OWN
            else "Providers alone do it, and this command asks none: apply it to a cluster",
        )
    named = {use.name for use in job.spec.adapters}
    equipped = [model for model in able if named <= model.spec.usable_adapters()]
    if not equipped:
        lacking = sorted(named - able[0].spec.usable_adapters())
        raise Unsupported(
            f"{able[0].metadata.name} has no LoRA or ControlNet of this name",
            where=f"{job.metadata.name}: spec.adapters",
            found=", ".join(lacking),
            fix="Add it to spec.adapters of the ModelDeployment",
        )
    return equipped[0]


def _own_of_class(job: GenerationJob, documents: Documents) -> list[str]:
    """The team's own models of a job's class: a provider is asked in a cluster alone, where a ledger keeps what is paid."""
    names = [each.model_deployment.name for each in documents.class_of(job).backends if each.model_deployment]
    if not names:
        raise Unsupported(
            "the class has no ModelDeployment, and providers are asked in a cluster alone",
            where=f"{job.metadata.name}: spec.generationClassName",
            found=job.spec.generation_class_name or "",
            fix="easel explain says what a provider would cost",
        )
    return names


def _run_one(
    job: GenerationJob, model: ModelDeployment, documents: Documents, out: str | None, *, alone: bool
) -> ExitCode:
    stop = Stop()
    target = _target(job, out, stop, alone=alone)
    spec, metadata = job.spec, job.metadata
    here = Job(metadata.name, metadata.namespace or "", metadata.uid, spec, target.folder)
    worker = Worker(
        here, target.store, open_sources(spec, _places(documents.folder_of(job)), stop.flag), time.monotonic
    )
    print(f"{metadata.name}: {_count(len(worker.items), job)}, {spec.task.value} by {model.metadata.name}", flush=True)
    try:
        _generate(worker, model, documents.local_spec(model), stop)
    except EaselError as error:
        _show_kept(worker, job, target)
        if stop.interrupted:
            print("  stopped; run it again and it goes on here", flush=True)
            return ExitCode.INTERRUPTED
        raise (stop.error or error) from error
    _show_end(worker, job, target)
    return ExitCode.DONE


def _generate(worker: Worker, model: ModelDeployment, spec: ModelDeploymentSpec, stop: Stop) -> None:
    """Serves the model and works the job off; a job that is complete already needs no server."""
    missing = worker.claim()
    if not missing:
        worker.outcome(stop.flag)
        return
    with (
        _server(spec, stop) as server,
        signals(stop),
        deadline(stop, worker.job.spec.deadline_seconds),
        server_watched(stop, server.process, server.log),
        terminal.reporter() as reporter,
        ReportLoop(reporter, worker.tally.snapshot),
    ):
        generate_at(worker, missing, server.endpoint, model.metadata.name, stop.flag)


@contextlib.contextmanager
def _server(spec: ModelDeploymentSpec, stop: Stop) -> Iterator[LocalServer]:
    """A server with a scratch folder; the folder stays when the server failed, for its log."""
    state = Path(tempfile.mkdtemp(prefix="easel-"))
    keep = True
    print("  starting Triton and loading the model", flush=True)
    started = time.monotonic()
    try:
        with start_local(spec, state) as server:
            info = server.info
            print(
                f"  serving {info.family}, {info.parameters / 1e6:.1f} M parameters, {info.dtype} on {info.device} "
                f"(after {time.monotonic() - started:.1f} s)",
                flush=True,
            )
            yield server
        keep = False
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if not keep or stop.interrupted:
            shutil.rmtree(state, ignore_errors=True)


def _target(job: GenerationJob, out: str | None, stop: Stop, *, alone: bool) -> Target:
    name, store = job.metadata.name, job.spec.output.store
    local = Path(out) if out is not None else Path("easel-output") / name
    if out is not None and not alone:
        local /= name
    if out is None and store is not None and store.s3 is not None:
        bucket, prefix = open_store(job.spec, _places(Path()), stop.flag)
        return Target(bucket, keys.folder(prefix, name), local)
    return Target(DirectoryStore(local, uri=str(local), create=True), "", local)


def _places(files: Path) -> Places:
    # S3 credentials come from the environment here, as with any S3 tool.
    claims = Path(os.environ.get("EASEL_CLAIMS_DIR", "/claims"))
    return Places(claims=claims, credentials=_NO_CREDENTIALS_FOLDER, files=files)


def _show_end(worker: Worker, job: GenerationJob, target: Target) -> None:
    records = worker.ledger.records()
    failed = [record for record in records if record.state is ItemState.FAILED]
    made = len(records) - len(failed)
    print(f"  {_count(made, job)} in {target.store.uri(target.folder).rstrip('/') or '.'}")
    _show_sheet(worker, job, target)
    print(f"  manifest       {worker.ledger.uri}", flush=True)
    for record in failed[:_SHOWN_FAILURES]:
        print(f"  failed         {record.id}: {record.error.to_error() if record.error else ''}")
    if len(failed) > _SHOWN_FAILURES:
        print(f"                 and {len(failed) - _SHOWN_FAILURES} more; the manifest names them")


def _show_kept(worker: Worker, job: GenerationJob, target: Target) -> None:
    kept = worker.tally.snapshot().succeeded
    if kept:
        print(
            f"  {_count(kept, job)} of {len(worker.items)} kept in {target.store.uri(target.folder).rstrip('/')}",
            flush=True,
        )


def _show_sheet(worker: Worker, job: GenerationJob, target: Target) -> None:
    entries = []
    for record in worker.ledger.records():
        if record.delivered is not None and record.state is ItemState.SUCCEEDED:
            data = target.store.get(record.delivered.key, limit=record.delivered.bytes)
            if data is not None:
                entries.append(Entry(record, data))
    sheet = DirectoryStore(target.sheet, uri=str(target.sheet), create=True)
    sheet.put(_SHEET, contact_sheet(job.metadata.name, entries), "image/png")
    print(f"  contact sheet  {sheet.uri(_SHEET)}")


def _count(number: int, job: GenerationJob) -> str:
    noun = "clip" if TAKES[job.spec.task].video else "picture"
    return f"{number} {noun}{'' if number == 1 else 's'}"
