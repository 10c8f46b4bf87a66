"""Receivers of alerts, started and stopped."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from aiosmtpd.controller import Controller
from tests.adapters.notify.receivers import Mailbox, Receiver, allowed


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def certificate(tmp_path):
    """A certificate of an authority of its own for `localhost`, as files: certificate, key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = tmp_path / "mail.crt", tmp_path / "mail.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    none = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    return files


@pytest.fixture
def mail_server(certificate):
    """Starts SMTP servers: `starttls` and `tls` with that certificate, the former with a login."""
    started = []

    def start(security):
        box = Mailbox()
        secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secured.load_cert_chain(*certificate)
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        options = {
            "starttls": {
                "tls_context": secured,
                "require_starttls": True,
                "authenticator": allowed,
                "auth_required": True,
                # smtplib tries the next mechanism when one is refused, which aiosmtpd does not answer.
                "auth_exclude_mechanism": ["LOGIN"],
            },
            "tls": {"ssl_context": secured},
            "none": {},
        }[security]
        server = Controller(box, hostname="localhost", port=port, **options)
        server.start()
        started.append(server)
        return box, port

    yield start
    for one in started:
        one.stop()
