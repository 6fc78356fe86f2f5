"""Fixtures: the labelled stand-in for the gateway, and clients of its three users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rpacs
from extensions.rpacs.tests.gateway_server import Gateway


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        yield server


@pytest.fixture
def pacs(gateway: Gateway) -> Iterator[rpacs.Client]:
    """Connect as clara, who sees CT, ultrasound and reports."""
    client = rpacs.connect(gateway.url, "token-clara")
    yield client
    client.close()


@pytest.fixture
def admin(gateway: Gateway) -> Iterator[rpacs.Client]:
    client = rpacs.connect(gateway.url, "token-admin")
    yield client
    client.close()
