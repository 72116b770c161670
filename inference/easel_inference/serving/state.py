"""The files through which the model in Triton's stub and the launcher know of one another.

    model.json   ModelInfo, once the model serves
    error.json   ErrorReport, when it failed to load
    pulse.json   twice a second: the stub's process id, the engine's heartbeat, how many requests it holds
    drain        made by the launcher: take no new requests

Beside a replica with an emptyDir for its cache, the container that fetches its model says in that folder how it stands:

    fetched      all is there
    fetch.json   ErrorReport, while the last try failed

Files and not sockets: the launcher must see a dead or hanging stub as such, and Triton's own readiness stays true
for either. Each is written beside and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from easel_api.errors import EaselError, ErrorReport
from easel_inference.generation import ModelInfo

Kind = TypeVar("Kind", bound=BaseModel)


class Pulse(BaseModel):
    """The engine's sign of life. `heartbeat` is `time.monotonic()`, which all processes of a machine share."""

    pid: int
    heartbeat: float
    running: int = 0
    waiting: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class _Folder:
    folder: Path

    def _write(self, name: str, value: BaseModel) -> None:
        beside = self.folder / f".{name}.{os.getpid()}"
        beside.write_text(value.model_dump_json())
        beside.replace(self.folder / name)

    def _read(self, name: str, kind: type[Kind]) -> Kind | None:
        try:
            return kind.model_validate_json((self.folder / name).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None


class FetchState(_Folder):
    """What the launcher may know of the container that fetches."""

    def succeeded(self) -> None:
        """All is there."""
        (self.folder / "fetched").touch()
        (self.folder / "fetch.json").unlink(missing_ok=True)

    def failed(self, error: EaselError) -> None:
        """A try failed; another one follows."""
        self._write("fetch.json", error.to_report())

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return (self.folder / "fetched").exists()

    @property
    def error(self) -> ErrorReport | None:
        """Why the last try failed."""
        return self._read("fetch.json", ErrorReport)


class State(_Folder):
    """The folder of the launcher's and the stub's files."""

    def clear(self) -> None:
        """Forget an earlier process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.json", "error.json", "pulse.json", "drain"):
            (self.folder / name).unlink(missing_ok=True)

    def loaded(self, info: ModelInfo) -> None:
        """The model serves."""
        self._write("model.json", info)

    def failed(self, error: EaselError) -> None:
        """The model failed to load."""
        self._write("error.json", error.to_report())

    def beat(self, pulse: Pulse) -> None:
        """The engine lives."""
        self._write("pulse.json", pulse)

    def drain(self) -> None:
        """Ask the engine to take no new requests."""
        (self.folder / "drain").touch()

    @property
    def draining(self) -> bool:
        """Whether the engine shall take no new requests."""
        return (self.folder / "drain").exists()

    @property
    def info(self) -> ModelInfo | None:
        """What serves, once it does."""
        return self._read("model.json", ModelInfo)

    @property
    def error(self) -> ErrorReport | None:
        """Why the model failed to load."""
        return self._read("error.json", ErrorReport)

    @property
    def pulse(self) -> Pulse | None:
        """The last sign of life."""
        return self._read("pulse.json", Pulse)
