"""Fixtures of the data side: databases with their roles, and a small archive that is indexed and served."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from demo.login import seed
from hub.tests.real_hub import Hub, running_hub
from hub.tests.support import Base, Served, as_bytes, gateway_settings, image, indexing, serving, until
from rpacs_hub.database import OWNED_SCHEMAS, create, role_url
from rpacs_hub.settings import IndexerSettings
from tests.fixtures.login import KEY, PASSWORDS, Login
from tests.fixtures.parts import OrthancServer


@pytest.fixture(scope="session")
def new_base(postgres) -> Callable[[], Base]:
    """Make fresh databases; their roles belong to the whole cluster, so the passwords stay the same."""
    passwords = {role: secrets.token_urlsafe(9) for role in OWNED_SCHEMAS}

    def new() -> Base:
        name = f"hub_{secrets.token_hex(6)}"
        create(postgres.admin_url, passwords, name)
        urls = {role: role_url(postgres.admin_url, role, word, name) for role, word in passwords.items()}
        return Base(name, urls, postgres.admin_url.rpartition("/")[0] + f"/{name}")

    return new


@pytest.fixture
def base(new_base) -> Base:
    return new_base()


@dataclass
class Archive:
    """A research Orthanc with known images, indexed, and a gateway that three people use."""

    served: Served
    orthanc: OrthancServer
    base: Base
    ct: list[FileDataset]
    mr: list[FileDataset]
    files: dict[str, bytes]
    ada: dict[str, str]  # sees everything
    clara: dict[str, str]  # sees CT only
    nora: dict[str, str]  # holds no profile


@pytest.fixture(scope="session")
def archive(new_base, server_folder, tmp_path_factory) -> Iterator[Archive]:
    """Nobody changes it, so all modules share it; what a test adds to the audit or as an export stays."""
    research = OrthancServer("archive", Path(tempfile.mkdtemp(prefix="archive-", dir=server_folder)))
    try:
        research.start()
        yield from _archive(research, new_base(), tmp_path_factory.mktemp("gateway"))
    finally:
        research.discard()


@pytest.fixture(scope="session")
def real_hub(archive, server_folder) -> Iterator[Hub]:
    """A real hub before the archive, whose gateway is its service; the same for all modules."""
    with running_hub(archive.base.gateway, archive.orthanc.url, server_folder) as hub:
        yield hub


def _archive(research: OrthancServer, base: Base, folder: Path) -> Iterator[Archive]:
    study, series, other = generate_uid(), generate_uid(), generate_uid()
    ct = [
        image(
            study=study,
            series=series,
            number=n,
            SeriesDescription="Thorax",
            WindowCenter=128,
            WindowWidth=256,
            SliceThickness=n * 0.5,
        )
        for n in range(1, 6)
    ]
    ct.append(image(study=study, number=1, SeriesDescription="Scout", patient="P1"))
    ct.append(image(patient="P3", StudyDate="20260301", StudyDescription="Abdomen"))
    mr = [image(modality="MR", patient="P2", number=n, StudyDate="20260201", study=other) for n in (1, 2)]
    mr.append(image(modality="MR", patient="P1", study=study, SeriesDescription="Same study as the CT"))
    files = {str(dataset.SOPInstanceUID): as_bytes(dataset) for dataset in (*ct, *mr)}
    settings = IndexerSettings(base.indexer, research.url, poll=0.1)
    with indexing(settings), serving(gateway_settings(base, research.url, folder)) as served:
        for data in files.values():
            research.upload(data)
        with psycopg.connect(base.gateway, autocommit=True) as connection:
            until(lambda: _count(connection) == len(files), "all images in the index")
        yield Archive(
            served,
            research,
            base,
            ct,
            mr,
            files,
            served.tokens.add("ada"),
            served.tokens.add("clara", "ct-researchers"),
            served.tokens.add("nora", "others"),
        )


def _count(connection: psycopg.Connection) -> int:
    try:
        return connection.execute("SELECT count(*) FROM pacs.instance").fetchone()[0]
    except psycopg.errors.UndefinedTable:
        return 0


@pytest.fixture(scope="session")
def login(tmp_path_factory) -> Iterator[Login]:
    """The local stand-in for Cognito with the demo's users; tests add users of their own."""
    login = Login(tmp_path_factory.mktemp("login"))
    login.start()
    login.known = seed(login.settings, KEY, PASSWORDS, login.record)
    yield login
    login.server.stop()
