"""The notebooks hold nothing but their text, and the tutorial runs from its first cell to its last."""

import getpass
import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


def code(name):
    return [c for c in json.loads((NOTEBOOKS / name).read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("name", ["Browse.ipynb", "Tutorial.ipynb"])
def test_no_outputs_are_kept(name):
    assert not [cell for cell in code(name) if cell["outputs"] or cell["execution_count"]]


def test_the_page_uses_the_template_and_one_cell():
    notebook = json.loads((NOTEBOOKS / "Browse.ipynb").read_text())
    assert notebook["metadata"]["voila"] == {"template": "rpacs"}
    assert notebook["metadata"]["title"] == "Research PACS"
    assert len(notebook["cells"]) == 1


def test_the_tutorial_runs(gateway, monkeypatch, capsys):
    monkeypatch.setenv("RPACS_URL", gateway.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "token-clara")
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"typed {prompt}")
    names = {}
    for cell in code("Tutorial.ipynb"):
        source = "".join(cell["source"])
        if cell["id"] == "destination":
            source = 'destination = "s3://research-exports/tutorial"'
        exec(compile(source, cell["id"], "exec"), names)
    assert "StrEquls CT\n         ^" in capsys.readouterr().out
    assert names["job"].status().done == 60
    assert gateway.bodies[0]["endpoint_url"] == gateway.endpoints[0]
    assert all(h["X-Access-Reason"] == "Tutorial" for _, _, h in gateway.requests)
