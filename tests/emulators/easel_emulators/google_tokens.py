"""Google's token endpoint and the metadata server of a node of GKE, as google-auth asks them.

The endpoint takes what a service account signed: RS256 by the key in its Secret, for Google's token endpoint, for the scope cloud-platform, for
an hour at most. The metadata server is plain HTTP within the node, as GKE's is, and answers those alone who say that they ask for metadata.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from easel_emulators.serving import Handling

PROJECT = "studio-of-tests"
EMAIL = f"painter@{PROJECT}.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""Of what is signed, wherever the endpoint is."""
LIFE = 3600
"""Seconds of a token."""


@dataclass
class Tokens:
    """Those that were given out, and what goes wrong next."""

    good: set[str] = field(default_factory=set)
    next: deque[tuple[int, Any]] = field(default_factory=deque)
    """Answers of the endpoint in place of a token: status and body."""
    asked: int = 0
    refused: list[str] = field(default_factory=list)

    def given(self) -> dict[str, Any]:
        """A new one."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self.good.add(token)
        return {"access_token": token, "expires_in": LIFE, "token_type": "Bearer"}

    def grant(self, sent: bytes) -> tuple[int, Any]:
        """What the endpoint answers to a form."""
        self.asked += 1
        if self.next:
            return self.next.popleft()
        try:
            form = {name: value for name, (value,) in parse_qs(sent.decode(), strict_parsing=True).items()}
            if set(form) != {"grant_type", "assertion"} or form["grant_type"] != GRANT:
                raise ValueError("not a grant of a service account")
            claims = jwt.decode(form["assertion"], certs=keys()[1], audience=AUDIENCE)
            if (claims["iss"], claims["scope"]) != (EMAIL, SCOPE) or claims["exp"] - claims["iat"] > LIFE:
                raise ValueError("claims of another account, for another scope or for too long")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what was signed
            self.refused.append(f"{type(error).__name__}: {error}"[:200])
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        return 200, self.given()

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has one of them."""
        return headers.get("Authorization", "").removeprefix("Bearer ") in self.good


@cache
def keys() -> tuple[str, str]:
    """A private and a public key, as PEM."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def service_account(url: str = "{url}", **other: str | None) -> str:
    """The key of a service account as Google Cloud makes it, whose tokens come from `url`."""
    told = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "0" * 40,
        "private_key": keys()[0],
        "client_email": EMAIL,
        "client_id": "100000000000000000000",
        "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    } | other
    return json.dumps(told)


@contextmanager
def metadata_server(tokens: Tokens) -> Iterator[str]:
    """ADDRESS:PORT of it, for GCE_METADATA_HOST, until the block ends."""

    class Handler(Handling):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            own = {"Metadata-Flavor": "Google"}
            path = urlsplit(self.path).path.removeprefix("/computeMetadata/v1/instance/service-accounts/")
            if self.headers.get("Metadata-Flavor") != "Google":
                self.send_json(403, {"error": "no header"}, own)
            elif path == "default/token":
                self.send_json(200, tokens.given(), own)
            elif path == "default/":
                self.send_json(200, {"email": EMAIL, "aliases": ["default"], "scopes": [SCOPE]}, own)
            else:
                self.send_json(404, {"error": "not found"}, own)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
