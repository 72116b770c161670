"""Runway's API: a task for a call, asked for until it ends.

By the types of its official SDK, runwayml 5.24.0, and docs.dev.runwayml.com (inputs, errors, task failures, moderation), read on 2026-11-29.
A task that ended says what it cost, in credits of a cent: what a filter held back is billed like a clip, what failed is mostly not, and the
task's own figure decides. A request that waits for a free place (THROTTLED) was taken; results lie at addresses of a day, and the task names
fresh ones when it is asked again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from easel_api.errors import (
    AmbiguousSubmit,
    BackendFault,
    BilledBadOutput,
    ContentBlocked,
    EaselError,
    InvalidInput,
    ModelRetired,
    QuotaExhausted,
    Transient,
    Unsupported,
)
from easel_inference.generation import GenerationRequest, Inputs

from .base import PaidBlock, Setup
from .polled import CancellablePolled, Ended, Made, Pace, Unfinished
from .rest import Answer, Rest, refused, renewed
from .runway_models import SHAPES

HOST = "https://api.dev.runwayml.com"
VERSION = "2024-11-06"
NAME = "Runway"
PACE = Pace(first=2.0)
"""Slower than the usual one: a task says nothing new more often than every 5 s, by the SDK."""
CENTS = Decimal("0.01")
"""US dollars for a credit."""
TASK_ID = re.compile(r"[-A-Za-z0-9_]{1,128}")
CODE = re.compile(r"[A-Z0-9_.]{1,80}")


def client(setup: Setup) -> CancellablePolled:
    """The client of a model; see `families.client_of`."""
    return polled(setup, PACE)


def polled(setup: Setup, pace: Pace) -> CancellablePolled:
    """The same at another pace."""
    remote = RunwayTasks(setup)
    return CancellablePolled(setup.name, remote, remote.cancel, pace)


class RunwayTasks:
    """One model; see `polled.Remote`."""

    def __init__(self, setup: Setup) -> None:
        if setup.model not in SHAPES:
            raise Unsupported("this client does not know the model", where="spec.offers[].model", found=setup.model)
        self.model, self.provider = f"runway/{setup.model}", NAME
        self._id, self._resolved = setup.model, setup.resolved
        headers = renewed(lambda: {"Authorization": f"Bearer {setup.key('API_KEY')}", "X-Runway-Version": VERSION})
        self._api = Rest(NAME, setup.spec.endpoint or HOST, headers, setup.authority)

    def submit(self, request: GenerationRequest, inputs: Inputs, _: Callable[[str], None]) -> str:
        """Starts the task; its id is the handle."""
        asked = SHAPES[self._id](request, inputs, self._resolved)
        body = {"model": self._id, "seed": request.seed, **asked.body}
        answer = self._api.post(asked.path, body, self._id)
        if answer.status not in (200, 201):
            raise _refused(answer, self._id)
        named = str(answer.json().get("id", ""))
        if not TASK_ID.fullmatch(named):
            raise AmbiguousSubmit(
                "the task was taken, and its name is not told",
                where=self._id,
                found=f"HTTP {answer.status}",
                fix="Look at the account's usage before the item is asked for again",
            )
        return named

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """How the task is; see `polled.Remote`."""
        answer = self._api.ask("GET", f"/v1/tasks/{handle}", self._id)
        if answer.status != 200:
            raise refused(NAME, answer, self._id)
        told = answer.json()
        match told.get("status"):
            case "PENDING" | "THROTTLED":
                return Unfinished()
            case "RUNNING":
                return Unfinished(_percent(told.get("progress")))
            case "SUCCEEDED":
                return self._made(told)
            case "FAILED" | "CANCELLED":
                return Ended(_failure(told, self._id))
            case _:
                raise Transient(f"{NAME} says nothing that is known of the task", where=self._id)

    def _made(self, told: Mapping[str, Any]) -> Made:
        addresses = told.get("output")
        if not isinstance(addresses, list) or not addresses:
            raise BilledBadOutput(f"{NAME} delivered nothing", where=self._id, found="a task that succeeded")
        taken = _credits(told)
        return Made(self._api.fetch(str(addresses[0]), self._id), cost=None if taken is None else taken * CENTS)

    def cancel(self, handle: str) -> None:
        """Stops the task; one that runs already is billed all the same. One that is gone needs no stopping."""
        answer = self._api.ask("DELETE", f"/v1/tasks/{handle}", self._id)
        if answer.status not in (200, 204, 404):
            raise refused(NAME, answer, self._id)


def _refused(answer: Answer, model: str) -> EaselError:
    told, found = answer.json(), f"HTTP {answer.status}"
    said, issues = str(told.get("error", "")), told.get("issues")
    paths = [each.get("path") for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []
    if answer.status == 400 and "enough credits" in said:
        return QuotaExhausted(f"the account at {NAME} has no credit left", where=model, found=found, fix="Add some")
    if ["model"] in paths or (answer.status == 403 and "is not available" in said):
        return ModelRetired(f"{NAME} serves no such model", where=model, found=found, fix="See docs/providers.md")
    return refused(NAME, answer, model)


def _credits(told: Mapping[str, Any]) -> Decimal | None:
    """What a task that ended cost; None when it does not say."""
    cost = told.get("cost")
    taken = cost.get("credits") if isinstance(cost, dict) else None
    if isinstance(taken, bool) or not isinstance(taken, int | float) or not math.isfinite(taken) or taken < 0:
        return None
    return Decimal(str(taken))


def _failure(told: Mapping[str, Any], model: str) -> EaselError:
    """Why a task has no result; billed unless it says that it cost nothing."""
    code = str(told.get("failureCode") or told.get("status"))
    found = code if CODE.fullmatch(code) else "an unknown code"
    billed = _credits(told) != 0
    if "SAFETY" in code.split("."):
        blocked = PaidBlock if billed else ContentBlocked
        return blocked("a safety policy of the provider refused it", where=model, found=found)
    if billed:
        return BilledBadOutput(f"{NAME} ended the task without a result, and bills it", where=model, found=found)
    if code.startswith("ASSET."):
        return InvalidInput(f"{NAME} cannot use an input", where="spec.inputs", found=found)
    return BackendFault(f"{NAME} ended the task without a result", where=model, found=found)


def _percent(progress: object) -> int | None:
    return round(progress * 100) if isinstance(progress, int | float) and 0 <= progress <= 1 else None
