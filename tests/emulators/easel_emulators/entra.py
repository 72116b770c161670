"""Microsoft Entra ID over TLS: tokens for an application with a secret, or with the token of a Kubernetes service account.

It gives what azure-identity asks for: the tenant's OIDC discovery document, and the token endpoint of the client credentials flow. A
federated token is verified as Entra does it: its signature by the cluster's key, its issuer, subject and audience. By
learn.microsoft.com, "OAuth 2.0 client credentials flow" and "workload identity federation"; there is no machine-readable schema.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from easel_cluster.pki import Authority

from easel_emulators.serving import Handling, served

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SECRET = "an~application.secret_of-tests"
ISSUER = "https://oidc.example.org/cluster"
SUBJECT = "system:serviceaccount:art:easel-worker"
AUDIENCE = "api://AzureADTokenExchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FIELDS = {
    "client_id", "client_secret", "client_assertion", "client_assertion_type", "client_info", "grant_type", "scope"
}  # fmt: skip


@dataclass(kw_only=True)
class Entra:
    """What happens next (`unavailable`, else a token), and what has happened."""

    next: deque[str] = field(default_factory=deque)
    given: dict[str, str] = field(default_factory=dict)
    """Scopes by the tokens that are good for them."""
    refused: list[str] = field(default_factory=list)
    """Codes of Entra."""
    lifetime: int = 3599
    """Seconds."""
    url: str = ""
    authority: Path = Path()
    """Certificate of the authority that the URL is trusted by."""
    cluster: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    """Signs the tokens of service accounts."""

    def service_account_token(self, subject: str = SUBJECT, seconds: int = 3600) -> str:
        """What a cluster writes into a pod."""
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self.cluster, "ES256")

    def accepts(self, header: str, scope: str) -> bool:
        """Whether an Authorization header holds a token that was given for the scope."""
        return header.startswith("Bearer ") and self.given.get(header.removeprefix("Bearer ")) == scope


@contextmanager
def entra(folder: Path, address: str = "127.0.0.1") -> Iterator[Entra]:
    """The service at an address of this machine, until the block ends."""
    state = Entra()
    authority = Authority(folder, "entra-ca")
    state.authority = authority.certificate
    pair = authority.server("entra", "entra", [address])

    class Handler(Handling):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            if self.path.partition("?")[0] != f"/{TENANT}/v2.0/.well-known/openid-configuration":
                self._fail(400, "invalid_tenant", "AADSTS90002")
                return
            base = f"{state.url}/{TENANT}"
            self.send_json(
                200,
                {
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "jwks_uri": f"{base}/discovery/v2.0/keys",
                },
            )

        def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
            form = dict(parse_qsl(self.sent().decode()))
            problem = checked(state, self.path, form)
            if problem is not None:
                self._fail(*problem)
            elif state.next and state.next.popleft() == "unavailable":
                self._fail(503, "temporarily_unavailable", "AADSTS90033")
            else:
                token = f"a-token-of-tests-{len(state.given)}"
                state.given[token] = form["scope"]
                lives = {"expires_in": state.lifetime, "ext_expires_in": state.lifetime}
                self.send_json(200, {"token_type": "Bearer", "access_token": token, **lives})

        def _fail(self, status: int, error: str, code: str) -> None:
            state.refused.append(code)
            told = {"error": error, "error_description": f"{code}: as a test asked.", "error_codes": [int(code[6:])]}
            self.send_json(status, told)

    with served(Handler, pair, address) as state.url:
        yield state


def checked(state: Entra, path: str, form: dict[str, Any]) -> tuple[int, str, str] | None:
    """What is wrong with a question for a token; None when it is given."""
    if path != f"/{TENANT}/oauth2/v2.0/token":
        return 400, "invalid_tenant", "AADSTS90002"
    if set(form) - FIELDS or form.get("grant_type") != "client_credentials":
        return 400, "invalid_request", "AADSTS900144"
    if not form.get("scope", "").endswith("/.default"):
        return 400, "invalid_scope", "AADSTS70011"
    if form.get("client_id") != CLIENT:
        return 400, "unauthorized_client", "AADSTS700016"
    if "client_assertion" not in form:
        return None if form.get("client_secret") == SECRET else (401, "invalid_client", "AADSTS7000215")
    try:
        if form.get("client_assertion_type") != JWT_BEARER:
            raise jwt.InvalidTokenError
        claims = jwt.decode(
            form["client_assertion"], state.cluster.public_key(), ["ES256"], audience=AUDIENCE, issuer=ISSUER
        )
    except jwt.InvalidTokenError:
        return 401, "invalid_client", "AADSTS700211"
    return None if claims["sub"] == SUBJECT else (401, "invalid_client", "AADSTS700213")
