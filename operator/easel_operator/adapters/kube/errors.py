"""From the API server's answers to the project's errors."""

from __future__ import annotations

import json
from typing import Any

from easel_api.errors import AuthConfig, EaselError, InvalidInput, NotFound, QuotaExhausted, Throttled, Transient
from easel_operator.ports.cluster import Changed, Expired, NameTaken


def error_of(status: int, body: bytes, where: str) -> EaselError:
    """The typed error of an answer."""
    answer = _status(body)
    message = str(answer.get("message", ""))
    match status:
        case 401:
            return AuthConfig("the API server does not know the operator", where=where, found=message)
        case 403 if "exceeded quota" in message:
            return QuotaExhausted("the namespace's quota is used up", where=where, found=message)
        case 403:
            return AuthConfig("the operator may not do this", where=where, found=message, fix="Check the chart's Role.")
        case 404:
            return NotFound("there is no such object or kind", where=where, found=message)
        case 409 if _taken(answer):
            return NameTaken(
                "an object of this name belongs to somebody else", where=where, fix="Rename one of the two."
            )
        case 409:
            return Changed("the object changed meanwhile", where=where)
        case 410:
            return Expired("the API server does not remember this version", where=where, found=message)
        case 429:
            return Throttled("the API server asks to slow down", where=where)
        case 400 | 413 | 415 | 422:
            return InvalidInput("the API server refuses the object", where=where, found=message)
        case _:
            return Transient(f"the API server answered {status}", where=where, found=message)


def _status(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _taken(answer: dict[str, Any]) -> bool:
    causes = answer.get("details", {}).get("causes", [])
    return any(cause.get("reason") == "FieldManagerConflict" for cause in causes)
