"""Azure's resource manager and Azure AI Video Indexer over TLS, at one address: an account, tokens for it, and videos that are looked at.

Shapes are those of learn.microsoft.com (rest/api/videoindexer/generate/access-token of 2024-01-01) and of Microsoft's own samples
(github.com/Azure-Samples/azure-video-indexer-samples), read on 2026-11-29; the account's API has no public schema. Anything that these do not
name is refused.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from email import message_from_bytes
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from easel_cluster.pki import Authority

from easel_emulators.entra import Entra
from easel_emulators.serving import Handling, served
from easel_inference.artifacts.headers import read_header

ACCOUNT = "/subscriptions/b04775c3-63fa-40f3-9430-139d2e5522d3/resourceGroups/art/providers/Microsoft.VideoIndexer/accounts/eyes"
ID, LOCATION = "9f7c1a90-1d4c-4f5c-9a66-0ea2bd8b9e5c", "westeurope"
PER_MINUTE = Decimal("0.15")
"""In US dollars."""
VIDEOS = f"/{LOCATION}/Accounts/{ID}/Videos"
UPLOAD = {"name", "externalId", "privacy"}
MICRO = 1_000_000


@dataclass
class Video:
    """One that was uploaded."""

    id: str
    external: str
    data: bytes
    questions: int
    """That find it unfinished."""
    state: str = "Processed"


@dataclass(kw_only=True)
class VideoIndexer:
    """What happens next, and what has happened.

    Of `next`, one for each upload: `done`, `slow` (three questions find it unfinished), `failed`, `reset` (behind the upload, which counts),
    `lost` (a reset before anything is kept), `throttled`, `unavailable`, `forgetful` (the token was taken back).
    """

    entra: Entra
    next: deque[str] = field(default_factory=deque)
    videos: dict[str, Video] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    billed: Decimal = Decimal(0)
    """What an account would be billed, in US dollars: by the length of what was taken, up to a millionth."""
    refused: list[str] = field(default_factory=list)
    url: str = ""
    authority: Path = Path()

    def indexed(self, video: Video) -> dict[str, object]:
        """The index, as far as it is known from the file alone."""
        seconds = read_header(video.data).seconds
        return {
            "accountId": ID,
            "id": video.id,
            "state": video.state,
            "externalId": video.external,
            "durationInSeconds": round(seconds),
            "videos": [{"id": video.id, "insights": {"labels": [{"id": 1, "name": "mug"}]}}],
        }


class Indexing(Handling):
    """One connection."""

    state: VideoIndexer

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == ACCOUNT:
            if self._managed(query):
                self.send_json(200, {"id": ACCOUNT, "location": LOCATION, "properties": {"accountId": ID}})
        elif not self._known():
            self._refuse(401, "no token of this account")
        elif url.path == f"{VIDEOS}/GetIdByExternalId" and set(query) == {"externalId"}:
            found = [each.id for each in self.state.videos.values() if each.external == query["externalId"]]
            if found:
                self.send_json(200, found[0])
            else:
                self.send_json(404, {"ErrorType": "VIDEO_NOT_FOUND"})
        elif (named := re.fullmatch(f"{VIDEOS}/([a-z0-9]+)/Index", url.path)) and not query:
            self._index(self.state.videos.get(named[1]))
        else:
            self._refuse(404, f"no operation {url.path}?{sorted(query)}")

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        url, sent = urlsplit(self.path), self.sent()
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == f"{ACCOUNT}/generateAccessToken":
            if not self._managed(query):
                return
            if json.loads(sent) != {"permissionType": "Contributor", "scope": "Account"}:
                self._refuse(400, "not the rights to upload")
                return
            token = f"an-account-token-{secrets.token_hex(8)}"
            self.state.tokens.add(token)
            self.send_json(200, {"accessToken": token})
        elif not self._known():
            self._refuse(401, "no token of this account")
        elif url.path != VIDEOS or set(query) != UPLOAD or query["privacy"] != "private" or len(query["name"]) > 80:
            self._refuse(400, f"no upload {url.path}?{sorted(query)}")
        else:
            self._upload(query["externalId"], sent)

    def _upload(self, external: str, sent: bytes) -> None:
        state = self.state
        word = state.next.popleft() if state.next else "done"
        if word == "lost":
            self.reset()
            return
        if word == "forgetful":
            state.tokens.clear()
            self._refuse(401, "the token was taken back")
            return
        if word in ("throttled", "unavailable"):
            self.send_json(429 if word == "throttled" else 503, {"ErrorType": word}, {"Retry-After": "0"})
            return
        form = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + sent)
        (part,) = form.get_payload()
        data = part.get_payload(decode=True)
        waits = 3 if word == "slow" else 1
        video = Video(secrets.token_hex(5), external, data, waits, "Failed" if word == "failed" else "Processed")
        state.videos[video.id] = video
        state.billed += Decimal(math.ceil(PER_MINUTE * Decimal(str(read_header(data).seconds)) / 60 * MICRO)) / MICRO
        if self.lost(word):
            return
        self.send_json(200, {"accountId": ID, "id": video.id, "state": "Uploaded", "externalId": external})

    def _index(self, video: Video | None) -> None:
        if video is None:
            self._refuse(404, "no such video")
        elif video.questions:
            video.questions -= 1
            self.send_json(200, {"accountId": ID, "id": video.id, "state": "Processing", "videos": []})
        else:
            self.send_json(200, self.state.indexed(video))

    def _managed(self, query: dict[str, str]) -> bool:
        """Whether the resource manager takes the question; it is answered when not."""
        if query != {"api-version": "2024-01-01"}:
            self._refuse(400, "no such version")
            return False
        if not self.state.entra.accepts(self.headers.get("Authorization", ""), f"{self.state.url}/.default"):
            self._refuse(401, "no token of Entra for the resource manager")
            return False
        return True

    def _known(self) -> bool:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") in self.state.tokens

    def _refuse(self, status: int, why: str) -> None:
        self.state.refused.append(why)
        self.send_json(status, {"ErrorType": "REFUSED", "Message": why})


@contextmanager
def video_indexer(folder: Path, entra: Entra, address: str = "127.0.0.1") -> Iterator[VideoIndexer]:
    """Both services at an address of this machine, until the block ends."""
    authority = Authority(folder, "indexer-ca")

    class Handler(Indexing):
        state = VideoIndexer(entra=entra, authority=authority.certificate)

    with served(Handler, authority.server("indexer", "indexer", [address]), address) as Handler.state.url:
        yield Handler.state
