"""Azure AI Video Indexer: what clips show, as JSON.

The resource manager tells where the account is and gives tokens for it; the account's own API takes clips and is asked about them. By
learn.microsoft.com (rest/api/videoindexer/generate/access-token of 2024-01-01) and Microsoft's own samples
(github.com/Azure-Samples/azure-video-indexer-samples, API-Samples/Python), read on 2026-11-29; the account's API has no public schema. A
token may be sent as a header, so that it is in no URL.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from urllib.parse import urlencode

from easel_api.errors import AmbiguousSubmit, AuthConfig, BackendFault, EaselError, EnvironmentFault, InvalidInput
from easel_api.provider import VideoIndexer

from . import entra
from .base import Setup
from .rest import Answer, Rest, refused

NAME = "Azure AI Video Indexer"
WHERE = "spec.videoIndexer"
API, RESOURCE_MANAGER = "https://api.videoindexer.ai", "https://management.azure.com"
VERSION = "api-version=2024-01-01"
TOKEN_SECONDS = 3000.0
"""For how long a token is used; it is good for an hour."""
LONGEST_NAME = 80
VIDEO = re.compile(r"[A-Za-z0-9]{1,32}")
LOCATION = re.compile(r"[a-z0-9]{1,32}")
ACCOUNT = re.compile(r"[-0-9a-fA-F]{36}")


def client(setup: Setup) -> Indexer:
    """The account of a Provider that has one; `AuthConfig` when its Secret has no application."""
    told = setup.spec.video_indexer
    assert told is not None  # noqa: S101 - whoever asks has looked
    return Indexer(setup, told)


class Indexer:
    """One account; see `base.Indexer`."""

    def __init__(self, setup: Setup, told: VideoIndexer) -> None:
        manager, api = told.resource_manager or RESOURCE_MANAGER, told.endpoint or API
        token = entra.tokens(setup, f"{manager.rstrip('/')}/.default")
        self._told = told
        self._manager = Rest(
            NAME,
            manager,
            lambda: {"Authorization": f"Bearer {token()}"},
            setup.authority if told.resource_manager else None,
            where=f"{WHERE}.resourceManager",
        )
        self._api = Rest(
            NAME, api, self._authorized, setup.authority if told.endpoint else None, where=f"{WHERE}.endpoint"
        )
        self._lock = threading.Lock()
        self._token, self._until = "", float("-inf")
        self._place = ""

    def price(self, seconds: float) -> Decimal:
        """Of a clip of that length; see `VideoIndexer.price`."""
        return self._told.price(seconds)

    def begin(self, token: str, clip: bytes) -> str:
        """Uploads the clip; the account's people alone see it there."""
        query = urlencode({"name": token[:LONGEST_NAME], "externalId": token, "privacy": "private"})
        fields = {"file": ("clip.mp4", clip, "video/mp4")}
        answer = self._answered(lambda: self._api.form(f"{self._account()}/Videos?{query}", fields, WHERE))
        if answer.status != 200:
            raise _refused(answer)
        name = answer.json().get("id")
        if not isinstance(name, str) or not VIDEO.fullmatch(name):
            raise AmbiguousSubmit(f"{NAME} took the clip without a name for it", where=WHERE)
        return name

    def find(self, token: str) -> str | None:
        """By the token that it was uploaded under."""
        query = urlencode({"externalId": token})
        answer = self._asked(f"/Videos/GetIdByExternalId?{query}")
        if answer.status == 404:
            return None
        name = _text(answer.body) if answer.status == 200 else ""
        if not VIDEO.fullmatch(name):
            raise _refused(answer, free=True)
        return name

    def look(self, handle: str) -> bytes | None:
        """The index of the video, once it is done."""
        if not VIDEO.fullmatch(handle):
            raise BackendFault(f"{NAME} has no such clip", where=WHERE)
        answer = self._asked(f"/Videos/{handle}/Index")
        state = answer.json().get("state") if answer.status == 200 else None
        match state:
            case "Processed":
                return answer.body
            case "Failed" | "Quarantined":
                raise BackendFault(f"{NAME} could not look at the clip", where=WHERE, found=state)
            case str():
                return None
            case _:
                raise _refused(answer, free=True)

    def _asked(self, path: str) -> Answer:
        return self._answered(lambda: self._api.ask("GET", self._account() + path, WHERE))

    def _answered(self, call: Callable[[], Answer]) -> Answer:
        """With a new token where the one at hand was taken back before its time; nothing was done then."""
        answer = call()
        if answer.status == 401:
            with self._lock:
                self._until = float("-inf")
            answer = call()
        return answer

    def _account(self) -> str:
        """Where the account is, below its API."""
        with self._lock:
            if not self._place:
                answer = self._manager.ask("GET", f"{self._told.account}?{VERSION}", WHERE)
                if answer.status != 200:
                    raise _refused(answer, free=True)
                told = answer.json()
                location, properties = str(told.get("location")), told.get("properties")
                account = str(properties.get("accountId")) if isinstance(properties, dict) else ""
                if not LOCATION.fullmatch(location) or not ACCOUNT.fullmatch(account):
                    raise BackendFault("the resource manager describes no such account", where=WHERE)
                self._place = f"/{location}/Accounts/{account}"
            return self._place

    def _authorized(self) -> Mapping[str, str]:
        with self._lock:
            if time.monotonic() > self._until:
                asked = {"permissionType": "Contributor", "scope": "Account"}
                answer = self._manager.ask("POST", f"{self._told.account}/generateAccessToken?{VERSION}", WHERE, asked)
                given = answer.json().get("accessToken") if answer.status == 200 else None
                if not isinstance(given, str) or not given.isascii() or not given.isprintable():
                    raise _refused(answer, free=True)
                self._token, self._until = given, time.monotonic() + TOKEN_SECONDS
            return {"Authorization": f"Bearer {self._token}"}


def _refused(answer: Answer, *, free: bool = False) -> EaselError:
    """What a status means; of a question (`free`) a gateway that gave up says nothing of money."""
    found = f"HTTP {answer.status}"
    match answer.status:
        case 401 | 403:
            return AuthConfig(
                f"{NAME} refused the application or identity",
                where=WHERE,
                found=found,
                fix="Make it a Contributor of the account",
            )
        case 404:
            return EnvironmentFault(f"{NAME} has no such account or clip", where=WHERE, found=found)
        case 400 | 409 | 413 | 415:
            return InvalidInput(f"{NAME} takes no such clip", where=WHERE, found=found)
        case 200:
            return BackendFault(f"{NAME} answered with something else", where=WHERE)
        case _:
            return refused(NAME, answer, WHERE, free=free)


def _text(body: bytes) -> str:
    """A string in JSON; empty when it is none."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    return told if isinstance(told, str) else ""
