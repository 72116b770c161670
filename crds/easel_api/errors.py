"""The one tree of errors of the whole project.

    EaselError
    ├── InvalidInput        what a person wrote is wrong: a field, a file, a picture        (user, final)
    │   ├── Unsupported     right in itself, but this backend or model cannot do it          (user, final)
    │   └── UnsafeModel     a model folder that could run code: pickles, Python files        (platform, final)
    ├── NotFound            a named thing is not there: bucket, model, file                  (user, final)
    ├── AuthConfig          credentials are missing or refused                               (platform, final)
    ├── EnvironmentFault    this machine lacks something: port, disk, tool, root             (platform, final)
    ├── QuotaExhausted      a quota or disk is used up                                       (platform, final)
    ├── BudgetSpent         what may be spent is spent                                       (user, final)
    ├── Transient           a passing fault: network, restart                                (backend, retry)
    │   ├── Throttled       asked to slow down                                               (backend, retry)
    │   ├── CapacityQueued  no room right now                                                (backend, retry)
    │   ├── HandedBack      taken, and given back before its end: the replica stops first    (backend, retry)
    │   └── Stalled         no progress for too long                                         (backend, retry)
    ├── BackendFault        the engine failed on this request: out of memory, a bug          (backend, retry)
    ├── BadOutput           what came back is not what was asked: size, hash, undecodable    (backend, retry)
    │   └── BilledBadOutput the same of a provider that may have been paid for it            (backend, final)
    ├── AmbiguousSubmit     sent, but nobody knows whether it was accepted                   (backend, reconcile)
    ├── ContentBlocked      refused by a safety policy                                       (user, final)
    ├── ModelRetired        the model id is no longer served                                 (user, final)
    └── Cancelled           stopped on request                                               (user, final)

A person sees four things: what went wrong, where (a field path or the name of a thing), what was found, and
what to do. `reason` is stable API: it becomes the reason of a condition, the code on the wire and the value of
a metric's label. Messages hold no secrets and no prompts: name the field, not its text.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Blame = Literal["user", "platform", "backend"]

MAX_TEXT = 512
"""Characters that one part of an error may hold; longer text is cut, so that a payload never leaks whole."""


class ExitCode(IntEnum):
    """Exit codes of the `easel` command."""

    DONE = 0
    JOB_FAILED = 1
    INVALID_INPUT = 2
    ENVIRONMENT = 3
    INTERRUPTED = 130


class EaselError(Exception):
    """The root: an error that a person can read.

    `what` is a sentence without a full stop; `where` a field path (`spec.parameters.width`) or the name of a
    thing (`bucket art`); `found` the offending value, never a secret or a prompt; `fix` what to do.
    """

    reason: ClassVar[str] = "EaselError"
    retryable: ClassVar[bool] = False
    blame: ClassVar[Blame] = "backend"
    exit_code: ClassVar[ExitCode] = ExitCode.JOB_FAILED

    def __init__(self, what: str, *, where: str = "", found: str = "", fix: str = "") -> None:
        self.what, self.where, self.found, self.fix = (shortened(part, MAX_TEXT) for part in (what, where, found, fix))
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.found:
            text += f" (found: {self.found})"
        return f"{text}. {self.fix}" if self.fix else text

    def to_report(self) -> ErrorReport:
        """The same error as data, for the wire, a manifest or a status."""
        return ErrorReport(reason=self.reason, what=self.what, where=self.where, found=self.found, fix=self.fix)


class InvalidInput(EaselError):
    """What a person wrote is wrong."""

    reason = "InvalidInput"
    blame: ClassVar[Blame] = "user"
    exit_code = ExitCode.INVALID_INPUT


class Unsupported(InvalidInput):
    """A field that is right in itself, but that this backend or model cannot honour."""

    reason = "Unsupported"


class UnsafeModel(InvalidInput):
    """A model folder that holds something that could run code."""

    reason = "UnsafeModel"
    blame = "platform"


class NotFound(EaselError):
    """A named thing is not there."""

    reason, blame, exit_code = "NotFound", "user", ExitCode.INVALID_INPUT


class AuthConfig(EaselError):
    """Credentials are missing or were refused."""

    reason, blame, exit_code = "AuthConfig", "platform", ExitCode.ENVIRONMENT


class EnvironmentFault(EaselError):
    """This machine or cluster lacks something."""

    reason, blame, exit_code = "EnvironmentFault", "platform", ExitCode.ENVIRONMENT


class BudgetSpent(EaselError):
    """A budget, of a job or of a Provider, has no room for the call."""

    reason, blame, exit_code = "BudgetSpent", "user", ExitCode.JOB_FAILED


class QuotaExhausted(EaselError):
    """A budget, a quota or a disk is used up."""

    reason, blame, exit_code = "QuotaExhausted", "platform", ExitCode.ENVIRONMENT


class Transient(EaselError):
    """A passing fault: the same request may succeed later."""

    reason, retryable = "Transient", True


class Throttled(Transient):
    """The backend asked to slow down, for `retry_after` seconds where it says so."""

    reason = "Throttled"

    def __init__(
        self, what: str, *, where: str = "", found: str = "", fix: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(what, where=where, found=found, fix=fix)
        self.retry_after = retry_after


class CapacityQueued(Transient):
    """The backend has no room right now."""

    reason = "CapacityQueued"


class HandedBack(Transient):
    """A replica that stops gives back what it would not finish; another one takes it, and it counts as no try."""

    reason = "HandedBack"


class Stalled(Transient):
    """No progress for longer than a healthy backend would take."""

    reason = "Stalled"


class BackendFault(EaselError):
    """The engine failed on this request."""

    reason, retryable = "BackendFault", True


class BadOutput(EaselError):
    """What came back is not what was asked."""

    reason, retryable = "BadOutput", True


class BilledBadOutput(BadOutput):
    """What came back is not what was asked, and it may be billed: only a person may have it made again."""

    reason, retryable = "BilledBadOutput", False


class AmbiguousSubmit(EaselError):
    """A request was sent and nobody knows whether it was accepted: reconcile it, never send it elsewhere."""

    reason = "AmbiguousSubmit"


class ContentBlocked(EaselError):
    """A safety policy refused the request or its result."""

    reason, blame = "ContentBlocked", "user"


class ModelRetired(EaselError):
    """The model id is no longer served."""

    reason, blame = "ModelRetired", "user"


class Cancelled(EaselError):
    """Stopped on request."""

    reason, blame = "Cancelled", "user"


class ErrorReport(BaseModel):
    """An error as data: what crosses the wire and what manifests and statuses keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    what: str
    where: str = ""
    found: str = ""
    fix: str = ""

    def to_error(self) -> EaselError:
        """The typed error again; an unknown reason (a newer sender) becomes a `BackendFault`."""
        return ERRORS.get(self.reason, BackendFault)(self.what, where=self.where, found=self.found, fix=self.fix)


def shortened(text: str, most: int) -> str:
    """The text, or as much of it as makes `most` characters with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _tree(root: type[EaselError]) -> dict[str, type[EaselError]]:
    found = {root.reason: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


ERRORS: dict[str, type[EaselError]] = _tree(EaselError)
"""Every error of the tree by its reason."""
