"""Certificates of a CA of our own, for servers that speak TLS."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


class Certificates:
    """A CA that nobody knows yet, and certificates of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for this name and of its key."""
        issued = self._ca.issue_cert(name)
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        private = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Java reads this form alone.
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(private.private_bytes(*form))
        return cert, key
