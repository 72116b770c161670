"""Brings what a ModelDeployment names in a bucket into its cache: the command of its fetch Job.

A Job and not the runtime: a model's process reaches nobody, holds no credentials, and no GPU waits for a download. Each
folder is downloaded beside its place, checked as the runtime would check it, and renamed: it is there whole or not at all. A
Job that dies goes on where it stopped.

Environment: EASEL_MODEL_DEPLOYMENT (the spec as JSON), EASEL_OWNER (the ModelDeployment's name), EASEL_CLAIMS_DIR,
EASEL_CREDENTIALS_DIR. Exit codes: 0 all is there; 2 and 3 as everywhere, which a second try does not mend; 1 it may.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from easel_api.errors import (
    BackendFault,
    BadOutput,
    Cancelled,
    EaselError,
    EnvironmentFault,
    ExitCode,
    InvalidInput,
    NotFound,
    QuotaExhausted,
)
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.s3 import S3Access
from easel_inference.artifacts.s3 import Fields, Listed, S3Store, read_credentials
from easel_inference.engine.inspection import check_adapter, check_model
from easel_inference.engine.sources import fetched_folder

from .settings import spec_of

FIELDS = Fields("spec.model.s3", "spec.model.source")
TERMINATED = 128 + signal.SIGTERM
TERMINATION_LOG = Path("/dev/termination-log")
SAY_SECONDS = 10.0
"""How often the log says how far it is."""
LISTINGS = 3
"""How often a source is listed that changes while it is fetched."""

log = logging.getLogger("easel.fetch")


@dataclass(frozen=True, slots=True)
class Source:
    """What is fetched, and what must be true of it."""

    uri: str
    folder: Path
    """Where it shall be."""
    check: Callable[[Path], object]
    """Raises what the runtime would raise when it cannot load the folder."""


def main() -> int:
    """Fetch everything that is not there yet; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(os.environ, stop)
    except Cancelled:
        log.info("stopped; the next try goes on from here")
        return TERMINATED
    except EaselError as error:
        log.error("%s: %s", error.reason, error)
        with suppress(OSError):  # for the operator
            Path(os.environ.get("EASEL_TERMINATION_LOG", TERMINATION_LOG)).write_text(f"{error.reason}: {error}"[:4096])
        return int(error.exit_code)
    return int(ExitCode.DONE)


def _run(environment: Mapping[str, str], stop: threading.Event) -> None:
    spec = spec_of(environment)
    claims = Path(environment.get("EASEL_CLAIMS_DIR", "/claims"))
    credentials = Path(environment.get("EASEL_CREDENTIALS_DIR", "/etc/easel/credentials"))
    for source in sources_of(spec, claims):
        bucket, _, prefix = source.uri.removeprefix("s3://").partition("/")
        store = S3Store(spec.model.s3 or S3Access(), bucket, read_credentials(credentials, FIELDS), stop, FIELDS)
        fetch(source, store, prefix, environment.get("EASEL_OWNER", "easel"), stop)


def sources_of(spec: ModelDeploymentSpec, claims: Path) -> list[Source]:
    """Everything of a spec that lies in a bucket."""
    if spec.cache is None:
        return []
    cache, digest, family = claims / spec.cache.persistent_volume_claim, spec.model.digest, spec.model.family
    model = Source(
        spec.model.source,
        fetched_folder(cache, spec.model.source, digest),
        partial(check_model, digest=digest, family=family),
    )
    adapters = [
        Source(each.source, fetched_folder(cache, each.source), partial(check_adapter, kind=each.kind))
        for each in spec.adapters
    ]
    return [source for source in (model, *adapters) if source.uri.startswith("s3://")]


def fetch(source: Source, store: S3Store, prefix: str, owner: str, stop: threading.Event) -> None:
    """Have a source in its folder; raises an error of the tree.

    A folder that is there is checked and kept, or, when it is not what it was, fetched anew.
    """
    with _disk(source.folder.parent):
        source.folder.parent.mkdir(parents=True, exist_ok=True)
        if source.folder.is_dir():
            if _holds(source):
                log.info("%s is there", source.uri)
                return
            shutil.rmtree(source.folder)
    for _ in range(LISTINGS):
        with suppress(BadOutput):
            _fetch(source, store, prefix, owner, stop)
            return
    raise BackendFault("the source changes all the time", where=source.uri, fix="Wait until it was uploaded")


def _holds(source: Source) -> bool:
    try:
        source.check(source.folder)
    except EaselError as error:
        log.warning("%s is fetched anew: %s", source.uri, error)
        return False
    return True


def _fetch(source: Source, store: S3Store, prefix: str, owner: str, stop: threading.Event) -> None:
    files = _files(source.uri, store.listed(f"{prefix.rstrip('/')}/"), f"{prefix.rstrip('/')}/")
    beside = source.folder.with_name(f".{source.folder.name}.{owner}.{_version(files)}")
    with _disk(beside):
        for other in source.folder.parent.glob(f".{source.folder.name}.{owner}.*"):
            if other != beside:
                shutil.rmtree(other, ignore_errors=True)  # of an earlier listing
        beside.mkdir(exist_ok=True)
        _check_room(source, beside, files)
    progress = Progress(source.uri, sum(item.size for item in files.values()), stop)
    for name, item in files.items():
        sink = File(beside / name, progress)
        store.download(item, sink)
        sink.close()
    try:
        source.check(beside)
    except EaselError:
        shutil.rmtree(beside)
        raise
    with _disk(beside):
        _place(beside, source.folder)
    log.info("%s is there: %d files, %.1f GB", source.uri, len(files), progress.total / 1e9)


def _files(uri: str, found: list[Listed], prefix: str) -> dict[str, Listed]:
    """Objects by their path in the folder; what ends in a slash is some tools' sign of a folder."""
    files = {item.key.removeprefix(prefix): item for item in found if not item.key.endswith("/")}
    if not files:
        raise NotFound("nothing is in the bucket under this prefix", where=uri, fix="Upload the model's folder there")
    for name in files:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or not name.isprintable():
            raise InvalidInput("a key that is no path in a folder", where=uri, found=name, fix="Rename or remove it")
    return files


def _version(files: dict[str, Listed]) -> str:
    told = "".join(f"{item.key}\0{item.size}\0{item.etag}\n" for item in files.values())
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _check_room(source: Source, beside: Path, files: dict[str, Listed]) -> None:
    """Before hours of downloading, and not after."""
    there = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
    needed, free = sum(item.size for item in files.values()) - there, shutil.disk_usage(beside).free
    if needed > free:
        raise _full(f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed for {source.uri}")


def _place(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(beside)  # another ModelDeployment of the same model was faster


class Progress:
    """Says in the log how far it is; stops the download when it shall."""

    def __init__(self, uri: str, total: int, stop: threading.Event) -> None:
        self.total = total
        self._uri, self._stop, self._done, self._said = uri, stop, 0, 0.0

    def add(self, count: int) -> None:
        """More bytes are there."""
        self._done += count
        if self._stop.is_set():
            raise Cancelled("stopped on request")
        if time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            log.info("%s: %.1f of %.1f GB", self._uri, self._done / 1e9, self.total / 1e9)


class File:
    """A file that grows part by part, from where an earlier try left it."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
        self.size = self._file.tell()
        progress.add(self.size)

    def take(self, part: bytes) -> None:
        """Write more of it."""
        with _disk(self._path):
            self._file.write(part)
        self.size += len(part)
        self._progress.add(len(part))

    def close(self) -> None:
        """It is whole: have it on the disk, so that a node that dies leaves no folder with a hole."""
        with _disk(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(f"{error.strerror} at {path}") from error
        raise EnvironmentFault(
            "the cache cannot be written",
            where="spec.cache.persistentVolumeClaim",
            found=f"{error.strerror or error} at {path}",
            fix="Check the claim's volume and its permissions",
        ) from error


def _full(found: str) -> QuotaExhausted:
    return QuotaExhausted(
        "the cache is full",
        where="spec.cache.persistentVolumeClaim",
        found=found,
        fix="Give the claim more room, or remove folders of easel-models that no model uses",
    )


if __name__ == "__main__":
    sys.exit(main())
