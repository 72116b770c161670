"""A bucket of any S3 endpoint as a store.

botocore is the half of boto3 that talks to S3; boto3 itself adds transfer threads and resource classes that a worker
does not need and that cost a tenth of its start. It is imported when a bucket is opened.

Nothing hangs on metadata or on S3's newer checksums, which not every endpoint keeps truthfully: an object is proven by
reading it back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from easel_api.errors import (
    AuthConfig,
    BadOutput,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    NotFound,
    QuotaExhausted,
    Throttled,
    Transient,
)
from easel_api.s3 import S3Access

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a person wrote what is asked of S3; errors name it."""

    access: str
    """Path of an `S3Access`."""
    bucket: str


STORE = Fields("spec.output.store.s3", "spec.output.store.s3.bucket")
PART = 8 * 2**20
"""Bytes that are held of an object that is written to a file."""
PARTIAL_CONTENT = 206
_TRIES = 5
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
_OUTAGE_SECONDS = 300.0
"""How long an endpoint that served before may be away. One that never did is more likely a wrong address: five tries."""
_GRACE_SECONDS = 15.0
"""How long what is made is still tried to be stored once the worker stops; a pod has 30 s to end."""
_MISSING = {"NoSuchKey", "404", "NotFound", "PreconditionFailed", "412", "InvalidRange", "416"}
_REFUSED = {
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "TokenRefreshRequired", "AuthorizationHeaderMalformed", "UnauthorizedAccess", "401", "403",
    "XAdminUserNotFound",  # versitygw's word for an unknown access key
}  # fmt: skip
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "507"}
_SLOW = {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "429"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of an S3 account. Never shown: `repr` hides them."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(hidden)"


def read_credentials(folder: Path, fields: Fields = STORE) -> Credentials | None:
    """Credentials mounted as files; None when the folder is not there, `AuthConfig` when it is incomplete."""
    if not folder.is_dir():
        return None
    found = {path.name: path.read_text().strip() for path in folder.glob("AWS_*") if path.is_file()}
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not found.get(name)]
    if missing:
        raise AuthConfig(
            "the Secret lacks a key",
            where=f"{fields.access}.credentialsSecretRef",
            found=f"no {' and no '.join(missing)}",
            fix="Add it to the Secret",
        )
    return Credentials(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], found.get("AWS_SESSION_TOKEN"))


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a bucket."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Changes with its content."""


class Sink(Protocol):
    """What takes an object part by part; it raises errors of the tree alone."""

    @property
    def size(self) -> int:
        """Bytes that it has."""

    def take(self, part: bytes) -> None:
        """More of them."""

    def clear(self) -> None:
        """None of them."""


class S3Store:
    """Objects in a bucket."""

    def __init__(
        self,
        access: S3Access,
        bucket: str,
        credentials: Credentials | None,
        stop: threading.Event,
        fields: Fields = STORE,
    ) -> None:
        """`credentials` None leaves it to botocore's own chain; `stop` ends the waits between tries; errors name `fields`."""
        self._bucket, self._fields = bucket, fields
        self._endpoint = access.endpoint or "AWS S3"
        self._stop = stop
        self._served = threading.Event()
        self._client = _client(access, credentials, fields)

    def uri(self, key: str) -> str:
        """`s3://BUCKET/KEY`."""
        return f"s3://{self._bucket}/{key}"

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes the object; S3 shows it whole or not at all."""
        self._try(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                ContentType=media_type,
            ),
            grace=_GRACE_SECONDS,
        )

    def get(self, key: str, *, limit: int) -> bytes | None:
        """The object's bytes; None when there is no such key."""

        def read() -> bytes | None:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            # Sent in chunks it has no length; with one, only reading to the end notices that it was cut off.
            length = answer.get("ContentLength", 0)
            with answer["Body"] as body:
                data = b"" if length > limit else body.read(None if length else limit + 1)
            if max(length, len(data)) > limit:
                found = f"{length} bytes" if length else f"more than {limit} bytes"
                raise InvalidInput(f"the object is larger than {limit} bytes", where=self.uri(key), found=found)
            return data

        return self._try(read)

    def listed(self, prefix: str) -> list[Listed]:
        """Every object under a prefix, by key."""

        def read() -> list[Listed]:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [
                Listed(item["Key"], item["Size"], item["ETag"]) for page in pages for item in page.get("Contents", [])
            ]

        return sorted(self._try(read) or [], key=lambda item: item.key)

    def download(self, item: Listed, sink: Sink) -> None:
        """Hands an object over in parts, from where `sink` ends; `BadOutput` when it is not what was listed any more.

        A download that comes forward is not given up, however often its connection breaks.
        """

        def read() -> bool:
            if sink.size < item.size:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=item.key, Range=f"bytes={sink.size}-", IfMatch=item.etag
                )
                if answer["ResponseMetadata"]["HTTPStatusCode"] != PARTIAL_CONTENT:
                    sink.clear()  # a server that knows no ranges sends all of it
                with answer["Body"] as body:
                    while part := body.read(PART):
                        sink.take(part)
            return sink.size == item.size

        if not self._try_while(read, lambda: sink.size):
            sink.clear()
            raise BadOutput(
                "the object changed while it was fetched", where=self.uri(item.key), fix="It is listed anew"
            )

    def _try_while(self, call: Callable[[], T], progress: Callable[[], int]) -> T | None:
        while True:
            before = progress()
            try:
                return self._try(call)
            except EnvironmentFault:
                if progress() <= before or self._stop.is_set():
                    raise

    def _try(self, call: Callable[[], T], grace: float = 0.0) -> T | None:
        """Calls again after passing faults; None when there is no such key; at last the environment is at fault.

        Once the worker stops, for `grace` seconds more.
        """
        began, attempt, ending = time.monotonic(), 0, float("inf")
        while True:
            attempt += 1
            try:
                return self._once(call)
            except Transient as error:
                fault = error
            if self._stop.is_set():
                ending = min(ending, time.monotonic() + grace)
            if not self._goes_on(attempt, time.monotonic() - began, grace, ending):
                raise EnvironmentFault(
                    f"the S3 endpoint did not serve in {attempt} tries",
                    where=f"{self._fields.access}.endpoint",
                    found=f"{self._endpoint}: {fault.found or fault.what}",
                    fix="Check that it runs and that this machine can reach it; what is stored is kept",
                ) from fault

    def _once(self, call: Callable[[], T]) -> T | None:
        try:
            found = call()
        except EaselError:
            raise
        except Exception as error:
            fault = self._explained(error)
            if fault is not None:
                raise fault from error
            found = None
        self._served.set()
        return found

    def _goes_on(self, attempt: int, seconds: float, grace: float, ending: float) -> bool:
        """Whether to try once more, after a wait; once the worker stops, until `ending`."""
        outage = self._served.is_set() and seconds < _OUTAGE_SECONDS
        if attempt >= _TRIES and not outage:
            return False
        wait = min(_FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, 9), _LONGEST_WAIT_SECONDS)
        wait *= 0.5 + random.random()  # noqa: S311 - jitter
        if not self._stop.is_set():
            return not self._stop.wait(wait) or grace > 0
        left = ending - time.monotonic()
        threading.Event().wait(max(0.0, min(wait, left)))
        return left > 0

    def _explained(self, error: Exception) -> EaselError | None:
        """Our word for botocore's error; None when the key does not exist. Says nothing of keys or signatures."""
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        match error:
            case boto.ClientError():
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                return self._answered(error.response.get("Error", {}).get("Code", ""), status)
            case boto.NoCredentialsError() | boto.PartialCredentialsError():
                return AuthConfig(
                    "there are no S3 credentials",
                    where=f"{self._fields.access}.credentialsSecretRef",
                    fix="Name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with easel run: set these variables)",
                )
            # HTTPError: botocore passes on what breaks off while a body is read.
            case boto.HTTPClientError() | boto.ConnectionError() | HTTPError() | OSError():
                return Transient("the S3 endpoint does not answer", where=self._endpoint, found=type(error).__name__)
            case boto.IncompleteReadError() | boto.ChecksumError() | ResponseParserError():
                return Transient("S3 answered with a broken message", where=self._endpoint, found=type(error).__name__)
            case boto.BotoCoreError():
                return _unusable(self._endpoint, error, self._fields)
            case _:
                raise error

    def _answered(self, code: str, status: int) -> EaselError | None:
        if code == "NoSuchBucket":
            return NotFound(
                "the bucket does not exist",
                where=self._fields.bucket,
                found=f"{self._bucket} at {self._endpoint}",
                fix="Create it, or correct the name",
            )
        if code in _MISSING:
            return None
        if code in _REFUSED:
            return AuthConfig(
                "S3 refused the credentials",
                where=f"{self._fields.access}.credentialsSecretRef",
                found=f"{code} for bucket {self._bucket} at {self._endpoint}",
                fix="Check the key, and that it may list the bucket and get and put objects in it",
            )
        if code in _FULL:
            return QuotaExhausted(
                "the bucket takes no more",
                where=self._fields.bucket,
                found=f"{code} for {self._bucket}",
                fix="Free some space, or raise the quota; what is stored is kept",
            )
        if code in _SLOW:
            return Throttled("S3 asks to slow down", where=self._endpoint, found=code)
        if status >= 500:
            return Transient("S3 failed", where=self._endpoint, found=code or str(status))
        return EnvironmentFault(
            "S3 refused the request",
            where=self._endpoint,
            found=f"{code} (HTTP {status})",
            fix="Check endpoint and region",
        )


def _client(access: S3Access, credentials: Credentials | None, fields: Fields) -> S3Client:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    options = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if access.endpoint else "auto"},
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=32,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = get_session().create_client(
            "s3",
            region_name=access.region or "us-east-1",
            endpoint_url=access.endpoint,
            aws_access_key_id=credentials.access_key if credentials else None,
            aws_secret_access_key=credentials.secret_key if credentials else None,
            aws_session_token=credentials.session_token if credentials else None,
            config=options,
        )
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no address
        raise _unusable(access.endpoint or "AWS S3", error, fields) from error
    return cast("S3Client", client)


def _unusable(endpoint: str, error: Exception, fields: Fields) -> EnvironmentFault:
    """What no second try mends: an endpoint that is no address, an unknown region, a broken AWS profile."""
    return EnvironmentFault(
        "S3 cannot be asked so",
        where=fields.access,
        found=f"{endpoint}: {type(error).__name__}",
        fix="Check endpoint, region and bucket, and the AWS settings of this machine",
    )
