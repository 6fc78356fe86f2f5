"""The rules file, on disk and in S3: a real S3 server, reached through a relay that a test may cut."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import uuid

import pytest

from deid_service import PseudonymKey, RulesError
from deid_service.cli import main
from deid_service.errors import RulesSourceError
from deid_service.pipeline.errors import SettingsError
from deid_service.pipeline.rules_file import RulesFile
from deid_service.rules import S3Address, S3File, load_rules, path_or_s3
from deid_service.rules.s3_file import LARGEST
from deid_service.settings import Settings

KEY = PseudonymKey(bytes(range(32)))
RULES = """\
ScopeToForward: {Labels: ALL}
Transformations:
  - Scope: {Labels: ALL}
    RandomizeUID: [{TagPatterns: "*/{UI}"}]
    RandomizeText: [{TagPatterns: [PatientName, PatientID], ReuseMapping: SamePatient}]
    AddTags: [{Tag: InstitutionName, VR: LO, Value: "VALUE", OverwriteIfExists: true}]
"""


class Relay:
    """Passes connections on to a server, counts the answers' bytes, and can be cut."""

    def __init__(self, port: int) -> None:
        self._port, self._open = port, []
        self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.received += len(data) if count else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def relay(s3):
    relay = Relay(int(s3.endpoint_url.rpartition(":")[2]))
    yield relay
    relay.cut()


@pytest.fixture
def aws(s3, relay, monkeypatch):
    """The machine's AWS settings, and nothing else of them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ENDPOINT_URL_S3": relay.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "no-such-file",
        "AWS_CONFIG_FILE": "no-such-file",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def client(s3):
    client = s3.client()
    yield client
    client.close()


@pytest.fixture
def put(s3, client):
    """Write an object of this test's own, and return its address."""
    key = f"config/{uuid.uuid4()}/rules.yaml"

    def write(text: str | bytes) -> str:
        client.put_object(Bucket=s3.bucket, Key=key, Body=text.encode() if isinstance(text, str) else text)
        return f"s3://{s3.bucket}/{key}"

    write.address = f"s3://{s3.bucket}/{key}"
    return write


@pytest.fixture
def follow():
    """Follow a rules file, and close the connection at the end."""
    made: list[RulesFile] = []

    def make(source) -> RulesFile:
        made.append(RulesFile(source, KEY))
        return made[-1]

    yield make
    for one in made:
        one.close()


def no_secret(s3, *texts: str) -> None:
    for secret in (s3.access_key, s3.secret_key):
        assert not [text for text in texts if secret in text]


# Addresses


@pytest.mark.parametrize(
    "text", ["s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://b u/key", "s3://bucket/f/"]
)
def test_incomplete_addresses_are_refused(text):
    with pytest.raises(RulesSourceError, match="s3://bucket/key"):
        S3Address.parse(text)
    with pytest.raises(RulesError, match="s3://bucket/key"):
        load_rules(text)
    with pytest.raises(SettingsError, match=r"RPACS_RULES: .*s3://bucket/key"):
        Settings.from_environment({"RPACS_RULES": text})


def test_address_is_told_from_a_path():
    assert S3Address.parse("s3://bucket/a/b c.yaml") == S3Address("bucket", "a/b c.yaml")
    assert str(S3Address("bucket", "a/b.yaml")) == "s3://bucket/a/b.yaml"
    assert path_or_s3("s3://bucket/key") == "s3://bucket/key"
    assert path_or_s3("a: b.yaml").name == "a: b.yaml"


def test_settings_take_an_address(monkeypatch):
    environment = {
        "RPACS_DATABASE_URL": "postgresql://u:p@h/d",
        "RPACS_INGEST_URL": "http://h",
        "RPACS_RESEARCH_URL": "http://h",
        "RPACS_RULES": "s3://bucket/rules.yaml",
        "RPACS_PSEUDONYM_KEY_FILE": "key",
    }
    assert Settings.from_environment(environment).rules == "s3://bucket/rules.yaml"


# Following


def test_file_on_disk_is_as_good_as_its_bytes(tmp_path, follow):
    path = tmp_path / "rules.yaml"
    rules = follow(path)
    assert "not been read" in rules.error
    path.write_bytes(RULES.replace("\n", "\r\n").encode())
    rules.refresh()
    assert rules.error is None
    assert rules.in_force.digest == load_rules(path).digest
    path.write_bytes(b"\xff")
    rules.refresh()
    assert "not UTF-8" in rules.error


def test_changed_object_is_put_in_force_and_an_unchanged_one_not_fetched(aws, put, relay, follow):
    rules = follow(put(RULES))
    assert rules.interval < 10
    rules.refresh()
    first = rules.in_force
    assert first.digest == load_rules(RULES).digest
    assert rules.error is None
    assert rules.interval == 10
    before = relay.received
    for _ in range(3):
        rules.refresh()
    assert rules.in_force is first
    assert relay.received - before < 3 * 500 < 3 * len(RULES) * 2  # the heads of three answers
    put(RULES.replace("VALUE", "Elsewhere"))
    rules.refresh()
    assert rules.in_force.digest == load_rules(RULES.replace("VALUE", "Elsewhere")).digest


def test_missing_object_is_waited_for(s3, aws, put, follow, caplog):
    rules = follow(put.address)
    with caplog.at_level(logging.INFO):
        rules.refresh()
        rules.refresh()
    assert rules.in_force is None
    assert rules.error == (
        f"cannot read {put.address}: there is no such object: check its spelling, or put the rules file there"
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"{rules.error}\nnothing is processed until it is mended"
    ]
    put(RULES)
    rules.refresh()
    assert rules.error is None
    assert rules.in_force is not None


def test_last_good_rules_survive_bad_ones_a_cut_and_a_deletion(s3, aws, put, relay, follow, client, caplog):
    rules = follow(put(RULES))
    with caplog.at_level(logging.DEBUG):
        rules.refresh()
        good = rules.in_force
        put("Transformations: {")
        rules.refresh()
        assert rules.error.startswith(f"the rules file is not valid: {put.address}: ")
        rules.refresh()  # the object is unchanged, and so is what is wrong with it
        assert "not valid" in rules.error
        client.delete_object(Bucket=s3.bucket, Key=put.address.split("/", 3)[3])
        rules.refresh()
        assert "no such object" in rules.error
        put(RULES)
        rules.refresh()
        assert rules.error is None
        assert rules.in_force.digest == good.digest
        relay.cut()
        rules.refresh()
    assert rules.error == (
        f"cannot read {put.address}: S3 ({relay.url}) does not answer (EndpointConnectionError): "
        "check AWS_ENDPOINT_URL_S3, AWS_REGION and the network"
    )
    assert rules.in_force.digest == good.digest
    assert f"rules {good.digest[:12]} stay in force" in caplog.text
    no_secret(s3, caplog.text, rules.error)


def test_rules_are_in_force_again_when_s3_is_back(aws, put, relay, follow, monkeypatch):
    dead = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{dead.getsockname()[1]}"
    dead.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    rules = follow(put(RULES))
    rules.refresh()
    assert "does not answer" in rules.error
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url)
    rules.refresh()
    assert rules.error is None
    assert rules.in_force is not None


def test_silent_server_is_given_up_on(aws, put, follow, monkeypatch):
    monkeypatch.setattr("deid_service.rules.s3_file._READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        rules = follow(put.address)
        rules.refresh()
    assert "does not answer (ReadTimeoutError)" in rules.error


# What is wrong, in words


@pytest.mark.parametrize(
    ("settings", "address", "words"),
    [
        ({}, "s3://{forbidden}/rules.yaml", "s3:GetObject"),
        ({"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN"}, "s3://{bucket}/rules.yaml", "does not accept our AWS credentials"),
        ({"AWS_SECRET_ACCESS_KEY": "hush"}, "s3://{bucket}/rules.yaml", "does not accept our AWS credentials"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "s3://{bucket}/rules.yaml", "no AWS credentials"),
        ({"AWS_PROFILE": "hush"}, "s3://{bucket}/rules.yaml", "check AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL_S3": "hush"}, "s3://{bucket}/rules.yaml", "check AWS_ENDPOINT_URL_S3"),
        ({"AWS_REGION": "hush hush"}, "s3://{bucket}/rules.yaml", "AWS_REGION"),
    ],
)
def test_errors_name_the_fix_and_no_credential(s3, aws, settings, address, words, monkeypatch, caplog):
    for name, value in settings.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    file = S3File(S3Address.parse(address.format(bucket=s3.bucket, forbidden=s3.forbidden_bucket)))
    with caplog.at_level(logging.DEBUG), pytest.raises(RulesSourceError) as caught:
        file.read()
    assert words in str(caught.value)
    for secret in (s3.access_key, s3.secret_key, "hush", "AKIAUNKNOWN"):
        assert secret not in str(caught.value)
        assert secret not in caplog.text


def test_password_in_an_endpoint_is_not_shown(aws, put, relay, monkeypatch):
    relay.cut()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", relay.url.replace("//", "//somebody:hush@"))
    with pytest.raises(RulesSourceError, match=r"does not answer|not right") as caught:
        S3File(S3Address.parse(put.address)).read()
    assert "hush" not in str(caught.value)


def test_object_that_is_no_rules_file_by_its_size_is_not_fetched(aws, put, relay):
    file = S3File(S3Address.parse(put(bytes(LARGEST + 1))))
    with pytest.raises(RulesSourceError, match="is this a rules file"):
        file.read()
    file.close()


# Commands


def test_check_and_file_take_an_address(aws, put, tmp_path, make_instance, capsys):
    assert main(["check", put.address]) == 1
    assert "there is no such object" in capsys.readouterr().err
    put(RULES)
    assert main(["check", put.address]) == 0
    assert f"{put.address}: in order" in capsys.readouterr().out
    (tmp_path / "a.dcm").write_bytes(make_instance())
    PseudonymKey.generate(tmp_path / "key")
    clean = tmp_path / "clean.dcm"
    arguments = ["file", str(tmp_path / "a.dcm"), str(clean), "--key-file", str(tmp_path / "key")]
    assert main([*arguments, "--rules", put.address]) == 0
    assert b"VALUE" in clean.read_bytes()


# The service


def test_service_follows_its_rules_in_s3(s3, aws, put, relay, deployment, make_instance):
    deployment.extra = aws | {"RPACS_RULES": put.address}
    # It looks every ten seconds, and is waited for three times here.
    deployment.first = "from deid_service.pipeline import rules_file\nrules_file._S3_SECONDS = 0.5"
    deployment.upload(make_instance(number=1))
    service = deployment.run("--processes", "1")
    deployment.wait(lambda: "no such object" in (deployment.status().rules_error or ""), "status does not tell")
    deployment.wait(lambda: deployment.status().queued == 1, "it does not wait")
    assert "there is no such object" in deployment.call("status").stdout
    assert deployment.call("status", "--check").returncode == 1
    put(RULES.replace("VALUE", "Somewhere"))
    deployment.wait_idle(1)
    deployment.wait(lambda: deployment.status().well, "status still tells of trouble")
    put(RULES.replace("VALUE", "Elsewhere"))
    changed = load_rules(RULES.replace("VALUE", "Elsewhere")).digest
    deployment.wait(lambda: deployment.status().rules_digest == changed, "the new rules are not in force")
    relay.cut()
    deployment.wait(lambda: "does not answer" in (deployment.status().rules_error or ""), "status does not tell")
    deployment.upload(make_instance(number=2))
    deployment.wait_idle(2)
    assert {file.InstitutionName for file in deployment.clean_files()} == {"Somewhere", "Elsewhere"}
    assert deployment.status().rules_digest == changed
    assert service.poll() is None
    no_secret(s3, deployment.log_text(), deployment.call("status", "--json").stdout)
    service.kill()  # at SIGTERM it would first give up on S3, which takes it long
