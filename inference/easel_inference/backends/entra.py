"""Tokens of Microsoft Entra ID: of an application with a secret, or of the worker's own identity on AKS.

azure-identity asks for them, keeps them, and asks anew before they expire. A question for a token costs nothing, so that it is asked again
when the network fails, and whatever happens to it nothing was sent to the provider. Where the environment names an authority that is not one
of Microsoft's (Azure Stack, a test), Microsoft is not asked whether it exists, and it may be trusted by the Provider's own certificates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, Transient
from easel_inference.backends.base import Renewed, Setup

COGNITIVE_SERVICES = "https://cognitiveservices.azure.com/.default"
MACHINE_LEARNING = "https://ml.azure.com/.default"
"""Scopes: what a token is for."""
INJECTED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")
"""What the webhook of Azure Workload Identity gives to a pod whose service account has an identity, beside AZURE_AUTHORITY_HOST."""
KEYS = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
TOO_MANY = 429


def tokens(setup: Setup, scope: str) -> Callable[[], str]:
    """A function that gives a token that is good now; safe for many threads.

    Raises `AuthConfig` when there are no credentials; what it returns raises it when they are refused, and `Transient` or
    `EnvironmentFault` when Entra cannot be asked.
    """
    try:
        credential = Renewed(setup, KEYS, lambda: _credential(setup))
    except (ValueError, OSError) as error:  # of a tenant or an authority that cannot be one
        raise _refused(type(error).__name__) from None

    def token() -> str:
        try:
            given: str = credential().get_token(scope).token
        except EaselError:  # of keys that are no longer there
            raise
        except Exception as error:  # noqa: BLE001 - what is no error of a question for a token is raised again
            raise _explained(error) from None
        return given

    return token


def _credential(setup: Setup) -> Any:
    from azure.identity import ClientSecretCredential, WorkloadIdentityCredential

    options: dict[str, Any] = {
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retry_total": 2,
        "retry_backoff_factor": 0.2,
    }
    own = not _is_microsofts(os.environ.get("AZURE_AUTHORITY_HOST", ""))
    if own and setup.authority is not None:
        options["connection_verify"] = setup.authority
    if setup.spec.credentials.secret_ref is not None:
        return ClientSecretCredential(
            *(setup.key(name) for name in KEYS),
            disable_instance_discovery=own,
            **options,
        )
    missing = [name for name in INJECTED if not os.environ.get(name)]
    if missing:
        raise AuthConfig(
            "the worker has no identity of Entra ID",
            where="spec.credentials.workloadIdentity",
            found=f"no {', '.join(missing)} in its environment",
            fix="Label its pods and annotate its service account as Azure Workload Identity wants it, or name a Secret",
        )
    return WorkloadIdentityCredential(**options)


def _is_microsofts(authority: str) -> bool:
    """Whether Microsoft runs it; the default is."""
    from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS  # type: ignore[import-untyped] # msal comes without types

    host = urlsplit(authority if "://" in authority else f"https://{authority}").hostname
    return not authority or host in WELL_KNOWN_AUTHORITY_HOSTS


def _explained(error: Exception) -> EaselError:
    """What azure-identity raised, in our words; it may wrap what the network said. Raises what is no error of a question."""
    from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

    cause = error.__cause__ if isinstance(error.__cause__, AzureError) else error
    status = _status(error)
    match cause:
        case ServiceRequestError() if "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return EnvironmentFault(
                "the certificate of Entra ID is not trusted",
                where="AZURE_AUTHORITY_HOST",
                found=type(cause).__name__,
                fix="Check the authority, and what it is trusted by",
            )
        case ServiceRequestError() | ServiceResponseError():
            return Transient("Entra ID cannot be reached", where="spec.credentials", found=type(cause).__name__)
        case AzureError() if status == TOO_MANY or status >= 500:
            return Transient("Entra ID failed", where="spec.credentials", found=f"HTTP {status}")
        case AzureError() | ValueError() | OSError():
            code = re.search(r"\bAADSTS[0-9]+", str(error))  # the rest of the text may name anything
            return _refused(code[0] if code else type(cause).__name__)
        case _:
            raise error


def _status(error: Exception) -> int:
    """Of the last answer; 0 without one. msal's own error has it in its text alone."""
    answer = getattr(error, "response", None)
    told = re.search(r"HTTP Error: ([0-9]{3})$", str(error))
    return int(answer.status_code) if answer is not None else int(told[1]) if told else 0


def _refused(found: str) -> AuthConfig:
    return AuthConfig(
        "Entra ID gives no token",
        where="spec.credentials",
        found=found,
        fix="Check tenant, application and secret, or the federated credential of the worker's service account",
    )
