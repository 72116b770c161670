"""From a Provider to the client that speaks its wire family. SDKs are imported when a client is made."""

from __future__ import annotations

from pathlib import Path

from easel_api.errors import AuthConfig, Unsupported
from easel_api.offers import WireFamily
from easel_api.provider import ProviderSpec
from easel_inference.routing.request import Resolved

from .base import Backend


def client_of(
    name: str, spec: ProviderSpec, model: str, resolved: Resolved, credentials: Path, authority: str | None = None
) -> Backend:
    """The client of one model; `name` is what the manifest calls it, `credentials` where the Provider's Secret is mounted.

    Raises `Unsupported` for a family or model without one, `AuthConfig` for a Secret that lacks a key.
    """
    match spec.family:
        case WireFamily.BEDROCK_INVOKE:
            from .aws import AwsAccount
            from .bedrock_invoke import BedrockInvoke

            access, secret, session = None, None, None
            if spec.credentials.secret_ref is not None:
                access, secret = (
                    _key(spec, credentials, f"AWS_{each}") for each in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
                )
                session = _read(credentials / "AWS_SESSION_TOKEN") or None
            account = AwsAccount(spec.region or "", spec.endpoint, access, secret, session, authority)
            return BedrockInvoke(name, account, model, resolved)
        case WireFamily.STABILITY_V2BETA:
            from .stability_v2beta import StabilityV2Beta

            return StabilityV2Beta(name, _key(spec, credentials, "API_KEY"), model, resolved, spec.endpoint, authority)
        case _:
            raise Unsupported("no client speaks this wire family yet", where="spec.family", found=spec.family.value)


def _key(spec: ProviderSpec, folder: Path, name: str) -> str:
    value = _read(folder / name)
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        secret = spec.credentials.secret_ref.name if spec.credentials.secret_ref else ""
        raise AuthConfig(
            f"the Secret's key {name} is {'malformed' if value else 'missing'}",
            where="spec.credentials.secretRef",
            found=f"Secret {secret}",
            fix=f"Give the Secret a key {name} with nothing but the key itself in it",
        )
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
