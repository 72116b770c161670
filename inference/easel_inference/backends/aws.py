"""What all of AWS' model services have in common: a client that never asks twice, and botocore's errors in our words.

botocore's own retries are off: a call that is paid for is sent once. Whether it was sent decides what may follow. Before, another try costs
nothing; behind it, nobody knows whether it was made and billed, and only a person may ask again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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
from easel_inference.backends.base import Setup, answer_lost, certificate_untrusted

TOO_MANY = 429
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
    """Who pays. Without a key botocore's own chain finds one: IRSA, Pod Identity, an instance's role."""

    region: str
    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    authority: str | None = None
    """Path of the certificates that an endpoint of one's own is trusted by."""

    def __repr__(self) -> str:
        return f"AwsAccount({self.region}, hidden)"


def account(setup: Setup) -> AwsAccount:
    """The account that a Provider's Secret opens, or the worker's own identity; `AuthConfig` for a Secret that lacks a key."""
    access = secret = session = None
    if setup.spec.credentials.secret_ref is not None:
        access, secret = setup.key("AWS_ACCESS_KEY_ID"), setup.key("AWS_SECRET_ACCESS_KEY")
        session = setup.file("AWS_SESSION_TOKEN").strip() or None
    return AwsAccount(setup.spec.region or "", setup.spec.endpoint, access, secret, session, setup.authority)


def client(account: AwsAccount, service: str) -> Any:
    """A client of a service; `EnvironmentFault` when region or endpoint are none."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, PartialCredentialsError
    from botocore.session import get_session

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
    try:
        return get_session().create_client(
            service,
            region_name=account.region,
            endpoint_url=account.endpoint,
            verify=account.authority,
            aws_access_key_id=account.access_key,
            aws_secret_access_key=account.secret_key,
            aws_session_token=account.session_token,
            config=options,
        )
    except PartialCredentialsError:
        raise _no_credentials() from None
    except (BotoCoreError, ValueError) as error:
        raise EnvironmentFault(
            "AWS cannot be spoken to",
            where="spec.region",
            found=f"{account.region}: {type(error).__name__}",
            fix="Check region and endpoint of the Provider",
        ) from error


def bucket_client(account: AwsAccount, endpoint: str | None) -> Any:
    """A client of S3 with the account's own credentials, for its bucket at `endpoint`; None: AWS' own."""
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
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            return Transient("AWS cannot be reached", where=model, found=type(error).__name__)
        case boto.SSLError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return certificate_untrusted(error)
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
