"""What a notebook's kernel can reach: the gateway with its own token, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.end_to_end.kernels import run_code

_SNOOP = """
import os, pathlib, subprocess

found = []
secrets = {secrets!r}

def look(where, data):
    for name, value in secrets.items():
        if value in data:
            found.append(f"{{name}} in {{where}}")

look("own environment", "\\n".join(os.environ.values()).encode())
for process in pathlib.Path("/proc").glob("[0-9]*"):
    for file in ("environ", "cmdline"):
        try:
            look(process / file, (process / file).read_bytes())
        except OSError:
            pass
for folder in {folders!r}:
    for root, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(root, name)
            try:
                if path.is_file() and path.stat().st_size < 2_000_000:
                    look(path, path.read_bytes())
            except OSError:
                pass
print("USER", os.getuid(), "FOUND", found)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="users are isolated only where the stack is started as root")
def test_a_kernel_finds_no_secret_of_any_service(stack, person):
    clara = person("clara")
    clara.open_browser_page()
    secrets = {
        path.name: path.read_bytes().strip()
        for path in (stack.settings.var / "secrets").iterdir()
        if path.is_file() and "clara" not in path.name and not path.name.endswith("access-key")
    }
    assert {"database-rpacs_deid", "pseudonym.key"} <= set(secrets)
    assert any(name.startswith("orthanc-") for name in secrets)
    code = _SNOOP.format(secrets=secrets, folders=[str(stack.settings.var), str(stack.settings.root / "var")])
    printed = run_code(f"{stack.hub_url}/user/clara/", clara.token, code, timeout=120)
    uid = int(printed.split()[1])
    assert uid != 0
    assert printed.rstrip().endswith("FOUND []"), printed


def test_the_database_and_the_orthancs_do_not_let_a_kernel_in(stack, person):
    clara = person("clara")
    clara.open_browser_page()
    ports = stack.settings.ports
    code = f"""
import urllib.request, urllib.error, socket
for port in ({ports.ingest_http}, {ports.research_http}):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{{port}}/instances", timeout=10)
        print(port, "OPEN")
    except urllib.error.HTTPError as error:
        print(port, error.code)
"""
    printed = run_code(f"{stack.hub_url}/user/clara/", clara.token, code)
    assert printed.split() == [str(ports.ingest_http), "401", str(ports.research_http), "401"]


def test_the_notebook_client_works_without_address_or_secret(stack, studies, person):
    clara = person("clara")
    clara.open_browser_page()
    code = """
import rpacs
pacs = rpacs.connect(reason="IRB 2026-041")
frame = pacs.search("Modality StrEquals CT", level="series")
print(pacs.me().name, pacs.count("", level="instance"), len(frame), pacs.count("Modality StrEquals MR"))
uid = pacs.search("", level="instance").index[0]
print(pacs.dicom(uid).Modality, len(pacs.tags(uid)) > 20)
"""
    printed = run_code(f"{stack.hub_url}/user/clara/", clara.token, code)
    assert printed.split() == ["clara", str(len(studies.ct)), "1", "0", "CT", "True"]
