"""The parts from which both the tests and the local stack are made."""

import json
import stat

import httpx
import pytest

from demo.parts import OrthancSettings, SeaweedSettings, prepare_orthanc, remove_leftover_sockets, seaweedfs_command
from demo.parts.orthanc import read_template


@pytest.mark.parametrize("name", ["ingest", "research"])
def test_templates_close_what_must_be_closed(name):
    template = read_template(name)
    assert template["RemoteAccessAllowed"] is False
    assert template["AuthenticationEnabled"] is True
    assert template["HttpCompressionEnabled"] is False
    assert template["OverwriteInstances"] is False
    assert not [plugin for plugin in template["Plugins"] if "Gdcm" in plugin]
    assert not {"RegisteredUsers", "DicomPort", "HttpPort", "StorageDirectory"} & set(template)


def test_only_the_ingest_server_has_a_dicom_port():
    assert read_template("ingest")["DicomServerEnabled"] is True
    assert read_template("research")["DicomServerEnabled"] is False


def test_configuration_with_passwords_is_private(tmp_path):
    settings = OrthancSettings(
        "research", tmp_path / "o", 1, 2, "RESEARCH", {"svc": "pw"}, {"StableAge": 9}, "research"
    )
    path = prepare_orthanc(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = json.loads(path.read_text())
    assert written["RegisteredUsers"] == {"svc": "pw"}
    assert (written["HttpPort"], written["DicomPort"]) == (1, 2)
    assert written["StableAge"] == 9  # `extra` wins
    assert written["DicomServerEnabled"] is False


def test_a_real_server_accepts_the_template_and_asks_for_a_password(orthanc_factory):
    server = orthanc_factory("ingest")
    system = server.get("/system")
    assert system["DicomAet"] == "INGEST"
    assert system["Name"] == "ingest"
    assert "dicom-web" in server.get("/plugins")
    assert httpx.get(f"http://127.0.0.1:{server.http_port}/system").status_code == 401


def test_s3_takes_no_fixed_ports_and_reports_to_nobody(tmp_path):
    command = seaweedfs_command(SeaweedSettings(tmp_path, 1, 2, 3, 4))
    assert {"-s3.port.iceberg=0", "-s3.port.lance=0", "-ip.bind=127.0.0.1", "-master.telemetry=false"} <= set(command)


def test_leftover_sockets_of_this_server_only_are_removed():
    from pathlib import Path

    mine, other = Path("/tmp/seaweedfs-s3-grpc-11.sock"), Path("/tmp/seaweedfs-s3-grpc-1011.sock")
    for path in (mine, other):
        path.touch()
    try:
        remove_leftover_sockets(SeaweedSettings(Path("/nowhere"), 11, 12, 13, 14))
        assert (mine.exists(), other.exists()) == (False, True)
    finally:
        for path in (mine, other):
            path.unlink(missing_ok=True)
