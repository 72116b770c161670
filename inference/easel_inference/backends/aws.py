"""What all of AWS' model services have in common: a client that never asks twice, and botocore's errors in our words.

botocore's own retries are off: a call that is paid for is sent once. Whether it was sent decides what may follow. Before, another try costs
nothing; behind it, nobody knows whether it was made and billed, and only a person may ask again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from easel_api.errors import (
    AmbiguousSubmit,
    AuthConfig,
    BackendFault,
    CapacityQueued,
    ContentBlocked,
    EaselError,
    EnvironmentFault,
    InvalidInput,
    ModelRetired,
    QuotaExhausted,
    Throttled,
    Transient,
)
from easel_inference.backends.base import GAVE_UP, Renewed, Setup, answer_lost, gave_up
from easel_inference.backends.connections import Telling, check, trusting

TOO_MANY = 429
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SLOW = frozenset({"ThrottlingException", "Throttling"})
"""SageMaker says so with HTTP 400."""
CONNECT_SECONDS = 5
READ_SECONDS = 300
"""Longer than the slowest picture, a creative upscale; botocore's own 60 s are shorter than it."""

_BLOCKED = re.compile(r"\bblocked\b|content (filter|polic)|responsible ai polic|content moderation", re.IGNORECASE)
"""Validation errors by which a model says that it does not want to; AWS has no code for it."""
_NO_ENDPOINT = re.compile(r"^endpoint \S+ of account \S+ not found", re.IGNORECASE)
"""SageMaker has no code for it either."""
_REFUSED = frozenset(
    {
        "AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException",
        "ExpiredToken", "InvalidIdentityToken", "AccessDenied",  # STS says so, of a role
        "IncompleteSignature", "InvalidClientTokenId", "MissingAuthenticationToken", "SignatureDoesNotMatch",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AwsAccount:
    """Who pays. Without keys botocore's own chain finds some: IRSA, Pod Identity, an instance's role."""

    region: str
    endpoint: str | None = None
    keys: Callable[[], tuple[str, str, str | None]] | None = None
    """Those that hold now: id, secret, and a session's token. A session ends within hours, and its keys are replaced."""
    authority: str | None = None
    """Path of the certificates that an endpoint of one's own is trusted by."""

    def __repr__(self) -> str:
        return f"AwsAccount({self.region}, hidden)"


def account(setup: Setup) -> AwsAccount:
    """The account that a Provider's Secret opens, or the worker's own identity; `AuthConfig` for a Secret that lacks a key."""

    def keys() -> tuple[str, str, str | None]:
        session = setup.file("AWS_SESSION_TOKEN").strip() or None
        return setup.key("AWS_ACCESS_KEY_ID"), setup.key("AWS_SECRET_ACCESS_KEY"), session

    kept = Renewed(setup, KEYS, keys) if setup.spec.credentials.secret_ref is not None else None
    return AwsAccount(setup.spec.region or "", setup.spec.endpoint, kept, setup.authority)


def client(account: AwsAccount, service: str) -> Any:
    """A client of a service; `EnvironmentFault` or `AuthConfig` when region, endpoint or authority are none."""
    from botocore.awsrequest import AWSHTTPSConnection, AWSHTTPSConnectionPool
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import get_session

    class Connection(Telling, AWSHTTPSConnection):  # type: ignore[misc] # botocore itself overrides urllib3 otherwise
        """One of botocore's."""

    class Pool(AWSHTTPSConnectionPool):
        """Of such connections."""

        ConnectionCls = Connection

    if account.endpoint is not None:
        check(account.endpoint, schemes=("http", "https"))
    if account.authority is not None:
        trusting(account.authority)  # botocore reads it in the call, and says of a bad one that a connection ended
    options = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=16,
        # Of S3 alone: what not every server knows.
        s3={"addressing_style": "path" if account.endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = get_session()
    if account.keys is not None:
        session.register_component("credential_provider", _mounted(account.keys))
    try:
        made: Any = session.create_client(
            service,
            region_name=account.region,
            endpoint_url=account.endpoint,
            verify=account.authority,
            config=options,
        )
    except (BotoCoreError, ValueError) as error:
        raise EnvironmentFault(
            "AWS cannot be spoken to",
            where="spec.region",
            found=f"{account.region}: {type(error).__name__}",
            fix="Check region and endpoint of the Provider",
        ) from error
    # botocore gives no other way to choose them; those by a proxy are made from the same table.
    made._endpoint.http_session._pool_classes_by_scheme["https"] = Pool
    return made


def _mounted(keys: Callable[[], tuple[str, str, str | None]]) -> Any:
    """What botocore has credentials from: such as ask for the keys before each request is signed."""
    from botocore.credentials import CredentialProvider, CredentialResolver, Credentials, ReadOnlyCredentials

    class Mounted(Credentials):
        """Of a folder whose files are replaced."""

        def get_frozen_credentials(self) -> ReadOnlyCredentials:
            return ReadOnlyCredentials(*keys())

    class Provider(CredentialProvider):
        """Gives them."""

        METHOD = CANONICAL_NAME = "secret"

        def load(self) -> Credentials:
            return Mounted(*keys(), method=self.METHOD)

    return CredentialResolver([Provider()])


def bucket_client(account: AwsAccount, endpoint: str | None) -> Any:
    """A client of S3 with the account's own credentials, for its bucket at `endpoint`; None: AWS' own."""
    if endpoint:
        check(endpoint, "spec.bucket.endpoint", ("http", "https"))
    return client(replace(account, endpoint=endpoint, authority=account.authority if endpoint else None), "s3")


def explained(error: Exception, model: str, *, free: bool = False) -> EaselError:
    """What botocore raised, in our words; says nothing of keys, signatures or prompts. Raises what is no error of a call.

    Of a call that costs nothing (`free`) an answer that was lost is `Transient`.
    """
    found = _meant(error, model)
    if free and isinstance(found, AmbiguousSubmit):
        return Transient("AWS' answer was lost", where=model, found=found.found)
    return found


def _meant(error: Exception, model: str) -> EaselError:
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    match error:
        case boto.ClientError():
            return _answered(error.response, model)
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return _no_credentials()
        # Nothing was sent.
        case boto.HTTPClientError() if isinstance(error.kwargs.get("error"), EaselError):
            return cast("EaselError", error.kwargs["error"])
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            return Transient("AWS cannot be reached", where=model, found=type(error).__name__)
        # Everything else that breaks on the way may break behind the request: a connection's end, and TLS at any moment.
        case boto.HTTPClientError() | boto.ConnectionError() | boto.IncompleteReadError() | HTTPError() | OSError():
            return answer_lost(error, model)
        case ResponseParserError():
            return answer_lost(error, model)
        case boto.BotoCoreError():
            return EnvironmentFault(
                "botocore cannot make the call",
                where=model,
                found=type(error).__name__,
                fix="Check the Provider's settings",
            )
        case _:
            raise error


def _no_credentials() -> AuthConfig:
    return AuthConfig(
        "there are no AWS credentials",
        where="spec.credentials",
        fix="Name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the worker's account a role",
    )


_ERRORS: dict[str, tuple[type[EaselError], str, str]] = {
    "ServiceQuotaExceededException": (QuotaExhausted, "a quota of the AWS account is used up", "Ask AWS for more"),
    "ResourceNotFoundException": (
        ModelRetired,
        "AWS serves no such model in this region",
        "See docs/providers.md for what follows it and where it is served",
    ),
    "ModelNotReadyException": (CapacityQueued, "the model is not there yet", ""),
    "ModelErrorException": (BackendFault, "the model failed", ""),
    "ModelError": (BackendFault, "the model failed", ""),
    "ModelTimeoutException": (AmbiguousSubmit, "the model took too long, and it may be billed", ""),
    "ValidationException": (InvalidInput, "AWS takes no such request", ""),
    "ValidationError": (InvalidInput, "AWS takes no such request", ""),
    "ConflictException": (BackendFault, "AWS knows the call's token from another call", ""),
    "NoSuchBucket": (EnvironmentFault, "there is no such bucket", "Check spec.bucket of the Provider"),
}
"""What AWS' own codes mean to us, by botocore's service models of bedrock-runtime, sagemaker-runtime and s3."""


def _answered(response: Mapping[str, Any], model: str) -> EaselError:
    told, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, message, status = str(told.get("Code", "")), str(told.get("Message", "")), metadata.get("HTTPStatusCode", 0)
    if code in _REFUSED or status in (401, 403):
        fix = "Check the key and what its policy allows"
        return AuthConfig("AWS refused the credentials", where="spec.credentials", found=code, fix=fix)
    if code == "ValidationException" and blocked(message):
        return ContentBlocked("a safety policy of the provider refused it", where=model, found=code)
    if code == "ValidationError" and _NO_ENDPOINT.search(message):
        fix = "Check spec.offers[].deployment of the Provider"
        return ModelRetired("there is no such endpoint in this region", where=model, found=code, fix=fix)
    if code in _ERRORS:
        kind, what, fix = _ERRORS[code]
        return kind(what, where=model, found=code, fix=fix)
    if status == TOO_MANY or code in _SLOW:
        wait = _seconds(metadata.get("HTTPHeaders", {}))
        return Throttled("AWS asks to slow down", where=model, found=code or str(status), retry_after=wait)
    if status in GAVE_UP:
        return gave_up("AWS", status, model)
    if status >= 500:
        return Transient("AWS failed", where=model, found=code or str(status))
    return BackendFault("AWS refused the request", where=model, found=f"{code} (HTTP {status})")


def blocked(message: str) -> bool:
    """Whether a message says that a safety policy refused it."""
    return _BLOCKED.search(message) is not None


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds; None when it is a date or nothing that can be read."""
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
