"""A folder as a store: for `easel run`, and for a PersistentVolumeClaim, which is a folder in the worker's pod.

Every path is walked from the root one name at a time without following links, so neither a key nor a link that somebody
left in a shared volume leads out of it. A file is written beside its final name, synced, renamed, and its folder synced:
after a crash there is the whole file or none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from easel_api.errors import EaselError, EnvironmentFault, InvalidInput, NotFound, QuotaExhausted

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LINK = {errno.ELOOP, errno.ENOTDIR}


class DirectoryStore:
    """Objects as files below `root`."""

    def __init__(self, root: Path, *, uri: str = "", create: bool = False) -> None:
        """`uri` is what people call the root (default: its own path); `create` makes it when it is missing."""
        self._root = root.absolute()
        self._uri = uri or str(self._root)
        if create:
            self._make_root()
        if not self._root.is_dir():
            raise NotFound("there is no such folder", where=self._uri, fix="Create it, or name another one")

    def uri(self, key: str) -> str:
        """Path of the object, below the root's own name."""
        return f"{self._uri.rstrip('/')}/{key}"

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes the file; after a crash there is the whole file or none."""
        *folders, name = self._names(key)
        with self._errors(key, len(data)), self._opened(folders, create=True) as parent:
            partial = f".{name}.partial"
            try:
                _write_synced(parent, partial, data)
                os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=parent)
                raise
            os.fsync(parent)

    def get(self, key: str, *, limit: int) -> bytes | None:
        """The file's bytes; None when it is missing."""
        *folders, name = self._names(key)
        try:
            with self._errors(key), self._opened(folders) as parent:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
                try:
                    return _read_bounded(file, self.uri(key), limit)
                finally:
                    os.close(file)
        except NotFound:
            return None

    def _make_root(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._explained(error, self._root.as_posix(), 0) from error

    def _names(self, key: str) -> list[str]:
        names = key.split("/")
        if any(name in ("", ".", "..") or "\0" in name for name in names):
            raise InvalidInput("this key would lead out of the folder", where=self._uri, found=key)
        return names

    @contextlib.contextmanager
    def _opened(self, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the innermost folder."""
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in folders:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=current)
                inner = os.open(name, _FOLDER, dir_fd=current)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    @contextlib.contextmanager
    def _errors(self, key: str, needed: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explained(error, self.uri(key), needed) from error

    def _explained(self, error: OSError, uri: str, needed: int) -> EaselError:
        if error.errno in _FULL:
            return QuotaExhausted(
                f"no room to write {needed} bytes",
                where=uri,
                found=f"{os.strerror(error.errno or 0)}, {_free(self._root)}",
                fix="Free some space and start again: finished items are kept",
            )
        if error.errno == errno.ENOENT:
            return NotFound("there is no such file", where=uri)
        if error.errno in _LINK:
            return InvalidInput(
                "a part of this path is a link or not a folder; links are not followed",
                where=uri,
                fix="Remove it, or name another folder",
            )
        return EnvironmentFault(
            "cannot use this path",
            where=uri,
            found=os.strerror(error.errno or 0),
            fix="Check its owner and permissions",
        )


def _write_synced(parent: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o644, dir_fd=parent), "wb") as handle:  # noqa: PTH123 - opened by descriptor, so that no link is followed
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _read_bounded(descriptor: int, uri: str, limit: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput("this is not a file", where=uri)
    if found.st_size > limit:
        raise InvalidInput(f"the file is larger than {limit} bytes", where=uri, found=f"{found.st_size} bytes")
    with open(descriptor, "rb", closefd=False) as handle:
        return handle.read()


def _free(root: Path) -> str:
    try:
        space = os.statvfs(root)
    except OSError:
        return "free space unknown"
    return f"{space.f_bavail * space.f_frsize} bytes free"
