"""How a server is reached."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]

_OPTIONS = (
    # A rewrite trace outgrows gRPC's default of 4 MiB; what comes back is bounded by the server.
    ("grpc.max_receive_message_length", -1),
    # A server that starts again is found again as quickly as calls are retried.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS, and with a certificate of one's own mutual TLS. All of it PEM."""

    roots: bytes | None = None  # who may vouch for the server; None: gRPC's usual authorities
    certificate: bytes | None = None  # the caller's, with what vouches for it
    private_key: bytes | None = None  # of that certificate
    server_name: str | None = None  # in the server's certificate, where it is not the address

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a certificate and its private key go together")

    @classmethod
    def from_files(cls, roots: str | os.PathLike[str] | None = None,
                   certificate: str | os.PathLike[str] | None = None,
                   private_key: str | os.PathLike[str] | None = None, *,
                   server_name: str | None = None) -> Tls:
        def read(path: str | os.PathLike[str] | None) -> bytes | None:
            return None if path is None else pathlib.Path(path).read_bytes()

        return cls(read(roots), read(certificate), read(private_key), server_name)


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.roots, tls.private_key, tls.certificate)


def channel_options(tls: Tls | None,
                    options: Sequence[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """Those of the library, then the caller's, which win."""
    name = tls.server_name if tls is not None else None
    override = (("grpc.ssl_target_name_override", name),) if name is not None else ()
    return tuple(dict((*_OPTIONS, *override, *options)).items())


def metadata(api_key: str | None) -> Metadata:
    return () if api_key is None else (("authorization", f"Bearer {api_key}"),)
