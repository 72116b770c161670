"""Asks a runtime's pod over HTTP: `GET /model` and `GET /load`, in a second or two, without following anything."""

from __future__ import annotations

import json
from typing import Annotated, Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from easel_api.errors import ErrorReport
from easel_api.tasks import Task
from easel_operator.core.observed import Loaded, Memory, NotLoaded, Probe

SECONDS = 2.0
MAX_BYTES = 65536

ShapeName = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}(x[1-9][0-9]{0,3})?$")]


class _Answer(BaseModel):
    """The part of a runtime's answer that the operator reads; a newer runtime may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    digest: str
    family: str
    tasks: tuple[str, ...]
    parameters: int
    loaded_seconds: float = 0.0
    step_seconds: dict[ShapeName, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    peak_memory: dict[ShapeName, Annotated[int, Field(ge=0)]] = {}
    weights_memory: Annotated[int, Field(ge=0)] = 0
    memory_capacity: Annotated[int, Field(ge=0)] = 0

    def loaded(self) -> Loaded:
        known = {task.value for task in Task}
        tasks = tuple(Task(task) for task in self.tasks if task in known)
        costs = tuple(self.step_seconds.items())
        memory = Memory(self.memory_capacity, self.weights_memory, tuple(self.peak_memory.items()))
        measured = memory if self.memory_capacity and self.peak_memory else None
        return Loaded(self.digest, self.family, tasks, self.parameters, self.loaded_seconds, costs, measured)


class _Load(BaseModel):
    """What it says of its requests."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    running: Annotated[int, Field(ge=0)]
    waiting: Annotated[int, Field(ge=0)]


class HttpRuntime:
    """Implements `ports.runtime.Runtime`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def model(self, address: str) -> Probe:
        """What the runtime says of its model; None when nobody answers in time, or not in our words."""
        answer = await self._get(address, "model")
        return _understood(*answer) if answer else None

    async def load(self, address: str) -> int | None:
        """How many requests it holds; None when nobody answers in time, or not in our words."""
        answer = await self._get(address, "load")
        if answer is None or answer[0] != 200:
            return None
        try:
            said = _Load.model_validate_json(answer[1])
        except ValidationError:
            return None
        return said.running + said.waiting

    async def _get(self, address: str, page: str) -> tuple[int, bytes] | None:
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._open().get(f"http://{host}:{self._port}/{page}", allow_redirects=False) as answer:
                return answer.status, await answer.content.read(MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        return self._session


def _understood(status: int, content: bytes) -> Probe:
    try:
        said: Any = json.loads(content)
        if status == 200:
            return _Answer.model_validate(said).loaded()
        return NotLoaded(ErrorReport.model_validate(said)) if status == 503 else None
    except (ValueError, ValidationError):
        return None
