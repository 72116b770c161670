"""Google Cloud Storage: the bucket of the account that Google leaves results in, read by its JSON API.

The path is that of cloud.google.com/storage/docs/json_api (objects.get with `alt=media`). One request of one kind does not want google-cloud-storage,
which would bring a second HTTP stack and retries of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from easel_api.errors import AuthConfig

from .base import Expired, Setup
from .rest import Headers, Rest, elsewhere, refused

NAME = "Google Cloud Storage"
HOST = "https://storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, below a prefix."""

    api: Rest
    name: str
    prefix: str

    @property
    def uri(self) -> str:
        """`gs://studio-clips/easel`, where Google is to leave results: each call's below a folder of its own."""
        return f"gs://{self.name}/{self.prefix}".rstrip("/")

    def fetch(self, uri: str, model: str) -> bytes:
        """What lies at a gs:// URI. The account may read more than its Provider names: whatever else an answer names is not fetched.

        Raises `BilledBadOutput` for a place out of the bucket, `Expired` when nothing lies there, `Transient` and `Throttled` for what may be
        tried again, `AuthConfig` when the account may not read it.
        """
        key = uri.removeprefix(f"gs://{self.name}/")
        # Cloud Storage has no objects of the other two names, which a URL's reader takes for steps up.
        if key == uri or not key.startswith(self.prefix) or key in ("", ".", ".."):
            raise elsewhere(NAME, model, "out of the Provider's bucket")
        path = f"/storage/v1/b/{self.name}/o/{quote(key, safe='', errors='replace')}?alt=media"
        answer = self.api.ask("GET", path, model)
        match answer.status:
            case 200:
                return answer.body
            case 404:
                raise Expired("there is no clip in the bucket", where=model, found=f"HTTP 404 of {self.uri}")
            case 401 | 403:
                raise AuthConfig(
                    f"{NAME} does not let the account read its own bucket",
                    where="spec.bucket",
                    found=f"HTTP {answer.status} of {self.uri}",
                    fix="Give the account storage.objects.get there",
                )
            case _:
                raise refused(NAME, answer, model)


def bucket(setup: Setup, headers: Headers) -> Bucket | None:
    """That of a Provider, opened by the account's own token; None when it names none."""
    told = setup.spec.bucket
    if told is None:
        return None
    api = Rest(
        NAME, told.endpoint or HOST, headers, setup.authority if told.endpoint else None, where="spec.bucket.endpoint"
    )
    return Bucket(api, told.name, told.prefix)
