"""Brings what a ModelDeployment names in a bucket into its cache: the command of its fetch Job.

A Job and not the runtime: a model's process reaches nobody, holds no credentials, and no GPU waits for a download. Where the
cache is an emptyDir it runs in a container beside each replica instead, tries until it has everything, and then rests. Each
folder is downloaded beside its place, checked as the runtime would check it, and renamed: it is there whole or not at all. A
Job that dies goes on where it stopped.

Environment: EASEL_MODEL_DEPLOYMENT (the spec as JSON), EASEL_OWNER (the ModelDeployment's name), EASEL_CLAIMS_DIR,
EASEL_CREDENTIALS_DIR, EASEL_BESIDE_REPLICA (any text: it does). Exit codes of the Job: 0 all is there; 2 the bucket or the specification is wrong, which no second try mends; 1 and 3 one may.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
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
    ErrorReport,
    ExitCode,
    InvalidInput,
    NotFound,
    QuotaExhausted,
)
from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.s3 import S3Access
from easel_api.weights import Weights, bytes_of
from easel_inference.artifacts.s3 import Fields, Listed, S3Store, read_credentials
from easel_inference.ending import TERMINATED, say, say_why, stopped_by_signals
from easel_inference.engine.folders import check_files, check_name, checked_digest, files_of
from easel_inference.engine.inspection import check_adapter, check_model, weights_of
from easel_inference.engine.sources import cached, model_folder

from .settings import spec_of
from .state import FetchState

FIELDS = Fields("spec.model.s3", "spec.model.source")
SAY_SECONDS = 10.0
"""How often the log says how far it is."""
LOCK_SECONDS = 1.0
REFUSED_SECONDS = 86400.0
"""How long a refusal stands; a newer Easel may load what this one does not."""
AGAIN_SECONDS = (10.0, 600.0)
"""First and longest pause between tries beside a replica."""
LISTINGS = 3
"""How often a source is listed that changes while it is fetched."""

log = logging.getLogger("easel.fetch")


@dataclass(frozen=True, slots=True)
class Source:
    """What is fetched, and what must be true of it."""

    uri: str
    folder: Path
    """Where it shall be."""
    digest: str | None
    """The one that is pinned."""
    fits: Callable[[Path], object]
    """Raises what the runtime would raise of a folder that is what it should be, and not for this specification."""
    asks: str
    """What the specification wants beside the content, in some words that differ when it does."""
    limit: int | None = None
    """Bytes that its cache may hold, where kubelet would evict the pod beyond them."""


def main() -> int:
    """Fetch everything that is not there yet; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = stopped_by_signals()
    try:
        if os.environ.get("EASEL_BESIDE_REPLICA"):
            _beside_replica(os.environ, stop)
        elif weights := _run(os.environ, stop):
            say(str(weights))
    except Cancelled:
        log.info("stopped; the next try goes on from here")
        return TERMINATED
    except EaselError as error:
        log.error("%s: %s", error.reason, error)
        say_why(error)
        return int(error.exit_code)
    return int(ExitCode.DONE)


def _beside_replica(environment: Mapping[str, str], stop: threading.Event) -> None:
    """Ends when its pod does: an end before that would be taken for a crash, and begun anew without a pause of ours."""
    spec, claims = spec_of(environment), Path(environment.get("EASEL_CLAIMS_DIR", "/claims"))
    if spec.cache is None:
        raise InvalidInput("needs spec.cache", where="EASEL_BESIDE_REPLICA")
    state, pause = FetchState(claims / spec.cache.folder), AGAIN_SECONDS[0]
    while not state.done:
        try:
            _run(environment, stop)
            state.succeeded()
        except Cancelled:
            raise
        except EaselError as error:
            log.error("%s: %s; tried again in %.0f s", error.reason, error, pause)
            state.failed(error)
            stop.wait(pause)
            pause = min(2 * pause, AGAIN_SECONDS[1])
    stop.wait()


def _run(environment: Mapping[str, str], stop: threading.Event) -> Weights | None:
    """Returns how large the model is, where it lies in a bucket and is no generator."""
    spec = spec_of(environment)
    claims = Path(environment.get("EASEL_CLAIMS_DIR", "/claims"))
    credentials = Path(environment.get("EASEL_CREDENTIALS_DIR", "/etc/easel/credentials"))
    for source in sources_of(spec, claims):
        bucket, _, prefix = source.uri.removeprefix("s3://").partition("/")
        store = S3Store(spec.model.s3 or S3Access(), bucket, read_credentials(credentials, FIELDS), stop, FIELDS)
        fetch(source, store, prefix, environment.get("EASEL_OWNER", "easel"), stop)
    if not spec.model.source.startswith("s3://"):
        return None
    return weights_of(check_model(model_folder(spec, claims), family=spec.model.family, hashed=False))


def sources_of(spec: ModelDeploymentSpec, claims: Path) -> list[Source]:
    """Everything of a spec that lies in a bucket."""
    found: list[Source] = []
    wanted: list[tuple[str, str | None, Callable[..., object], str]] = [
        (spec.model.source, spec.model.digest, partial(check_model, family=spec.model.family), str(spec.model.family))
    ]
    wanted += [(each.source, None, partial(check_adapter, kind=each.kind), each.kind.value) for each in spec.adapters]
    for uri, digest, check, asks in wanted:
        folder = cached(spec, uri, claims, digest)
        if folder and uri.startswith("s3://"):
            own = spec.cache.empty_dir if spec.cache else None
            limit = bytes_of(own.size_limit) if own else None
            found.append(Source(uri, folder, digest, partial(check, hashed=False), asks, limit))
    return found


def fetch(source: Source, store: S3Store, prefix: str, owner: str, stop: threading.Event) -> None:
    """Have a source in its folder; raises an error of the tree.

    A folder that is there and whole is never touched: replicas may serve from it, other models' too.
    """
    with _disk(source.folder.parent), _alone(source, owner, stop):
        if source.folder.is_dir() and _whole(source):
            source.fits(source.folder)
            log.info("%s is there", source.uri)
            return
        for _ in range(LISTINGS):
            with suppress(BadOutput):
                _fetch(source, store, prefix, owner, stop)
                return
    raise BackendFault("the source changes all the time", where=source.uri, fix="Wait until it was uploaded")


def _whole(source: Source) -> bool:
    try:
        _check_content(source, source.folder)
    except EaselError as error:
        log.warning("%s is fetched anew: %s", source.uri, error)
        return False
    return True


def _check_content(source: Source, folder: Path) -> None:
    files = files_of(folder)
    check_files(folder, files)
    checked_digest(folder, files, source.digest)


def _fetch(source: Source, store: S3Store, prefix: str, owner: str, stop: threading.Event) -> None:
    start = f"{prefix.rstrip('/')}/"
    files = _files(source.uri, store.listed(start), start)
    beside = source.folder.with_name(f".{source.folder.name}.{owner}.{_version(files, source)}")
    refusal = beside.with_name(f"{beside.name}.refused")
    for other in source.folder.parent.glob(f".{source.folder.name}.{owner}.*"):
        if other not in (beside, refusal, _lock_of(source, owner)):
            _remove(other)  # of an earlier listing
    if refusal.exists() and time.time() - refusal.stat().st_mtime < REFUSED_SECONDS:
        # The very same content for the very same specification: to download it once more would show the same.
        raise ErrorReport.model_validate_json(refusal.read_bytes()).to_error()
    beside.mkdir(exist_ok=True)
    _check_room(source, beside, files)
    progress = Progress(source.uri, sum(item.size for item in files.values()), stop)
    for name, item in files.items():
        sink = File(beside / name, item.size, progress)
        store.download(item, sink)
        sink.close()
    try:
        _check_content(source, beside)
        source.fits(beside)
    except EaselError as error:
        shutil.rmtree(beside)
        refusal.write_text(error.to_report().model_dump_json())
        raise
    _place(beside, source.folder)
    log.info("%s is there: %d files, %.1f GB", source.uri, len(files), progress.total / 1e9)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _lock_of(source: Source, owner: str) -> Path:
    return source.folder.with_name(f".{source.folder.name}.{owner}.lock")


@contextmanager
def _alone(source: Source, owner: str, stop: threading.Event) -> Iterator[None]:
    """A Job that is replaced leaves a pod for half a minute, which writes the same files."""
    path = _lock_of(source, owner)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(LOCK_SECONDS):
                    raise Cancelled("stopped on request") from None
        yield


def _files(uri: str, found: list[Listed], prefix: str) -> dict[str, Listed]:
    """Objects by their path in the folder; what ends in a slash is some tools' sign of a folder."""
    files = {item.key.removeprefix(prefix): item for item in found if not item.key.endswith("/")}
    if not files:
        raise NotFound("nothing is in the bucket under this prefix", where=uri, fix="Upload the model's folder there")
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for name in files:
        path = PurePosixPath(name)
        if path.as_posix() != name or path.is_absolute() or ".." in path.parts or name in folders or not _plain(name):
            raise InvalidInput("a key that is no path in a folder", where=uri, found=name, fix="Rename or remove it")
        check_name(name)
    return files


def _plain(name: str) -> bool:
    return name.isprintable() and "\\" not in name


def _version(files: dict[str, Listed], source: Source) -> str:
    told = "".join(f"{item.key}\0{item.size}\0{item.etag}\n" for item in files.values())
    return hashlib.sha256((told + source.asks).encode()).hexdigest()[:16]


def _check_room(source: Source, beside: Path, files: dict[str, Listed]) -> None:
    """Before hours of downloading, and not after."""
    needed, free = sum(item.size for item in files.values()) - _size_of(beside), shutil.disk_usage(beside).free
    if source.limit is not None:
        free = min(free, source.limit - _size_of(source.folder.parent))
    if needed > free:
        raise _full(f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed for {source.uri}")


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _place(beside: Path, folder: Path) -> None:
    """Rename it; what was there and damaged makes room first, and what somebody else has put there since stays."""
    aside = beside.with_name(f"{beside.name}.damaged")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    try:
        beside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(beside)  # another ModelDeployment of the same model was faster
    shutil.rmtree(aside, ignore_errors=True)


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

    def __init__(self, path: Path, wanted: int, progress: Progress) -> None:
        self._path, self._progress = path, progress
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            if self._file.tell() > wanted:
                self._file.truncate(0)
            self.size = path.stat().st_size if path.is_file() else 0
        progress.add(self.size)

    def clear(self) -> None:
        """Begin it anew."""
        with _disk(self._path):
            self._file.truncate(0)
        self._progress.add(-self.size)
        self.size = 0

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
            where="spec.cache",
            found=f"{error.strerror or error} at {path}",
            fix="Check the volume and its permissions",
        ) from error


def _full(found: str) -> QuotaExhausted:
    return QuotaExhausted(
        "the cache is full",
        where="spec.cache",
        found=found,
        fix="Give it more room, or remove folders of a claim's easel-models that no model uses",
    )


if __name__ == "__main__":
    sys.exit(main())
