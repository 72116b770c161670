"""A store that stands behind an emulator: a server nobody here wrote, on this machine and over plain HTTP, which the emulator passes requests on to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import urllib3

from easel_emulators.serving import Handling

CUT = "cut short"


@dataclass(frozen=True)
class Behind:
    """One such server."""

    endpoint: str
    reads: deque[int | str] = field(default_factory=deque)
    """What becomes of the next questions in place of an answer: a status, or `CUT`."""
    read: list[str] = field(default_factory=list)
    """Paths that were asked for from outside."""

    def asked(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the server's answer."""
        answer = urllib3.request(
            method, self.endpoint + path, body=body, headers=dict(headers or {}), retries=False, timeout=60
        )
        return answer.status, dict(answer.headers.items()), answer.data

    def passed_on(self, connection: Handling) -> None:
        """Answers a question as the server does."""
        self.read.append(connection.path)
        then = self.reads.popleft() if self.reads else 0
        if isinstance(then, int) and then:
            connection.send_json(then, {})
            return
        status, headers, body = self.asked("GET", connection.path)
        kept = {name: value for name, value in headers.items() if name.lower() in ("content-type", "etag")}
        if then == CUT:
            connection.send_half(status, body, kept)
        else:
            connection.send(status, body, kept)
