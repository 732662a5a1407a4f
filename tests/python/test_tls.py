"""TLS and mutual TLS."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import grpc
import pytest
import trustme
from both_clients import Caller
from fake_server import FakeServer, Turn

import deltaserve
from deltaserve.v1 import inference_pb2

_NO_RETRY = {"retry": None, "timeout": 30.0}
_MODELS = Turn([inference_pb2.ListModelsResponse(models=[inference_pb2.Model(name="m")])])


class _Pem(NamedTuple):
    roots: bytes
    certificate: bytes
    private_key: bytes


def _issue(authority: trustme.CA, name: str) -> _Pem:
    leaf = authority.issue_cert(name)
    return _Pem(authority.cert_pem.bytes(), leaf.cert_chain_pems[0].bytes(),
                leaf.private_key_pem.bytes())


def _server(authority: trustme.CA, name: str = "127.0.0.1", mutual: bool = False) -> FakeServer:
    pem = _issue(authority, name)
    return FakeServer(_MODELS, credentials=grpc.ssl_server_credentials(
        [(pem.private_key, pem.certificate)], pem.roots if mutual else None, mutual))


def _models(caller: Caller, server: FakeServer, tls: deltaserve.Tls | None) -> list[str]:
    with caller(server.address, tls=tls, **_NO_RETRY) as client:
        return [model.name for model in client.call("models")]


def test_the_server_is_known_by_its_authority(caller: Caller) -> None:
    authority = trustme.CA()
    with _server(authority) as server:
        assert _models(caller, server, deltaserve.Tls(authority.cert_pem.bytes())) == ["m"]
        for stranger in (deltaserve.Tls(trustme.CA().cert_pem.bytes()), deltaserve.Tls(), None):
            with pytest.raises(deltaserve.UnavailableError):
                _models(caller, server, stranger)


def test_the_name_in_the_certificate_counts(caller: Caller) -> None:
    authority = trustme.CA()
    roots = authority.cert_pem.bytes()
    with _server(authority, "models.example") as server:
        with pytest.raises(deltaserve.UnavailableError):
            _models(caller, server, deltaserve.Tls(roots))
        assert _models(caller, server,
                       deltaserve.Tls(roots, server_name="models.example")) == ["m"]


def test_mutual_tls_shows_the_callers_certificate(caller: Caller, tmp_path: pathlib.Path) -> None:
    authority = trustme.CA()
    for name, content in _issue(authority, "caller@example.org")._asdict().items():
        (tmp_path / name).write_bytes(content)
    tls = deltaserve.Tls.from_files(tmp_path / "roots", tmp_path / "certificate",
                                    tmp_path / "private_key")
    with _server(authority, mutual=True) as server:
        assert _models(caller, server, tls) == ["m"]
        with pytest.raises(deltaserve.UnavailableError):
            _models(caller, server, deltaserve.Tls(authority.cert_pem.bytes()))


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="go together"):
        deltaserve.Tls(certificate=b"...")
