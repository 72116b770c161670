"""Certificates and kubeconfigs of a cluster: one authority, and a client or server certificate for each part.

The names in the certificates are Kubernetes' own (`system:node:…`, `system:kube-scheduler`, …), so that RBAC and the Node
authoriser decide as in any cluster.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from easel_cluster.layout import write_changed

LIFETIME = datetime.timedelta(days=30)
"""A test cluster that lives longer is forgotten, not used."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs what a cluster needs; keeps its files in one folder and makes none twice."""

    def __init__(self, folder: Path, name: str = "easel-test-ca") -> None:
        self.folder = folder
        self.pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        if not self.pair.certificate.exists():
            _write_authority(self.pair, name)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.pair.certificate

    def client(self, file: str, user: str, *groups: str) -> Pair:
        """A certificate by which a program says who it is."""
        return self._issue(file, _name(user, groups), ExtendedKeyUsageOID.CLIENT_AUTH, ())

    def server(self, file: str, common_name: str, addresses: Sequence[str], groups: Sequence[str] = ()) -> Pair:
        """A certificate for a program that listens on the given host names and IP addresses."""
        return self._issue(file, _name(common_name, groups), ExtendedKeyUsageOID.SERVER_AUTH, addresses)

    def _issue(self, file: str, name: x509.Name, usage: x509.ObjectIdentifier, addresses: Sequence[str]) -> Pair:
        pair = Pair(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        if pair.certificate.exists():
            return pair
        issuer = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        signer = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, issuer.subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        if addresses:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(each) for each in addresses]), critical=False
            )
        _write_key(pair.key, key)
        pair.certificate.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return pair


def signing_key(folder: Path, file: str) -> Pair:
    """A key pair that signs service-account tokens; the "certificate" is the public key."""
    pair = Pair(folder / f"{file}.pub", folder / f"{file}.key")
    if not pair.certificate.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(pair.key, key)
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        pair.certificate.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    return pair


def write_kubeconfig(path: Path, server: str, authority: Path, client: Pair) -> Path:
    """A kubeconfig that holds everything itself, so that it can be copied anywhere."""
    cluster = {"server": server, "certificate-authority-data": _base64(authority)}
    user = {"client-certificate-data": _base64(client.certificate), "client-key-data": _base64(client.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "easel", "cluster": cluster}],
        "users": [{"name": "easel", "user": user}],
        "contexts": [{"name": "easel", "context": {"cluster": "easel", "user": "easel"}}],
        "current-context": "easel",
    }
    return write_changed(path, json.dumps(document, indent=1))


def tls_context(authority: Path, client: Pair | None = None) -> ssl.SSLContext:
    """For HTTPS requests to a part of the cluster."""
    context = ssl.create_default_context(cafile=str(authority))
    if client:
        context.load_cert_chain(client.certificate, client.key)
    return context


def _write_authority(pair: Pair, name: str) -> None:
    key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name, ())
    builder = _builder(subject, subject, key.public_key(), authority=True)
    _write_key(pair.key, key)
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, authority: bool = False
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=authority, crl_sign=authority, key_encipherment=False, content_commitment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # Clocks of one machine agree; the minute is for one that was just set back.
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(common_name: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    # The traditional form is the one that every Go program here reads, service-account keys included.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    write_changed(path, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
