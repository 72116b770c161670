"""What must hold before a provider can be sent anything: an endpoint that can be read, an authority that can, and a connection that stands.

Whatever fails here cost nothing, which cannot be told any more once it is mixed with what breaks behind a request: by urllib3 and botocore
a TLS handshake that fails is the same error as a stream that ends in the middle of an answer. So endpoint and authority are looked at when a
client is made, and connections of both libraries say themselves that they never stood.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError

from easel_api.errors import AuthConfig, EaselError, EnvironmentFault, Transient

from .base import certificate_untrusted

ENDPOINT = "spec.endpoint"
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""How OpenSSL, by its age, calls an answer to its greeting that is none: most of the time plain HTTP."""


def address(url: str, schemes: tuple[str, ...] = ("https",)) -> urllib3.util.Url | None:
    """A URL as the very library reads it that connects to it; None for one that another reader could take for another host."""
    if not url.isascii() or not url.isprintable() or any(each in url for each in "\\ "):
        return None
    try:
        found = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return None
    return found if found.scheme in schemes and found.host and found.auth is None else None


def check(endpoint: str, where: str = ENDPOINT, schemes: tuple[str, ...] = ("https",)) -> None:
    """`EnvironmentFault` for an endpoint that nothing can be sent to; `where` is the field that names it."""
    if address(endpoint, schemes) is None:
        raise EnvironmentFault(
            "the endpoint is no URL of a host",
            where=where,
            found=endpoint[:200],
            fix=f"Name one such as {schemes[-1]}://api.example.org:8443, with a port up to 65535",
        )


def trusting(authority: str | None, *, public: bool = False) -> ssl.SSLContext:
    """What an endpoint is trusted by: the certificates in the file `authority`, and with `public` or without a file the public ones.

    Raises `AuthConfig` when the file holds none.
    """
    try:
        context = ssl.create_default_context(cafile=None if public else authority)
        if public and authority is not None:
            context.load_verify_locations(authority)
    except OSError as error:  # ssl.SSLError is one
        raise AuthConfig(
            "the Secret's key ca.crt holds no certificate that can be read",
            where="spec.credentials.secretRef",
            found=type(error).__name__,
            fix="Give the Secret a ca.crt with the authority's certificates in PEM, or none for the public ones",
        ) from None
    return context


if TYPE_CHECKING:
    _Base = HTTPSConnection
else:
    _Base = object


class Telling(_Base):
    """Mixed into a connection of urllib3: what fails until it stands is an `EaselError`, and nothing was sent."""

    def connect(self) -> None:
        """Raises urllib3's own errors where nobody listens, which mean the same to everyone."""
        try:
            super().connect()
        except ConnectTimeoutError:
            raise
        except (OSError, HTTPError, UnicodeError) as error:
            raise unconnected(error) from None


def unconnected(error: Exception) -> EaselError:
    """What kept a connection from standing; nothing was sent."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return certificate_untrusted(error)
    if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
        return EnvironmentFault(
            "the endpoint does not speak TLS", where=ENDPOINT, found=error.reason, fix="Name a port that speaks https"
        )
    return Transient("the endpoint cannot be reached", where=ENDPOINT, found=type(error).__name__)


def named(error: EaselError, where: str) -> EaselError:
    """The same error; one of the endpoint names the field that it was taken from."""
    if error.where == ENDPOINT:
        error.where = where
    return error


class Connection(Telling, HTTPSConnection):
    """One of urllib3's own."""


class Pool(urllib3.HTTPSConnectionPool):
    """Of such connections."""

    ConnectionCls = Connection
