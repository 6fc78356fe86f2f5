"""How a stack is: every part asked, and put into words and figures."""

from __future__ import annotations

import contextlib
import pwd
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from demo.health import Health, checked, indexer
from demo.processes import listeners, marked, process
from demo.services import Part, Services
from demo.supervision import ProgramState, Supervisor

__all__ = ["PartStatus", "StackStatus", "log_of", "program_pid", "read_pipeline", "read_status"]


@dataclass(frozen=True)
class PartStatus:
    """How a part is.

    Attributes
    ----------
    name, title, address
        Of the part.
    healthy
        Whether it did what it was asked.
    detail
        Figures, or what is wrong.
    pid
        Its process, 0 if there is none.
    since
        Seconds that it has been running.
    user
        System user that it runs as; empty if it does not run.
    log
        Its log.
    """

    name: str
    title: str
    address: str
    healthy: bool
    detail: str
    pid: int
    since: int
    user: str
    log: str


@dataclass(frozen=True)
class StackStatus:
    """How the stack is.

    Attributes
    ----------
    healthy
        Whether every part is.
    running
        Whether anything of it runs at all.
    parts
        Each part.
    pipeline
        What the de-identifier says of its queue and quarantine (see ``rpacs-deid status --json``), and ``searchable``,
        the number of instances in the index; empty if neither can be asked.
    problems
        Errors in the rules and permissions files, in words.
    """

    healthy: bool
    running: bool
    parts: list[PartStatus]
    pipeline: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the status for JSON."""
        return asdict(self)


def read_status(services: Services, supervisor: Supervisor) -> StackStatus:
    """Ask every part how it is, all at the same time."""
    states = {state.name: state for state in supervisor.states()}
    if not states:
        parts = [
            _part_status(services, supervisor, part, None, Health(False, "not running")) for part in services.parts()
        ]
        remains = marked(services.settings.var, services.settings.ports.hub_api)
        problems = [f"its supervisor is gone, but {len(remains)} processes run: `make demo` or `make stop`"]
        return StackStatus(False, False, parts, {}, problems if remains else [])
    found = services.parts()
    services.details.clear()
    with ThreadPoolExecutor(len(found)) as pool:
        answers = list(pool.map(lambda part: part.check(), found))
    parts = [
        _part_status(services, supervisor, part, states.get(part.name), answer)
        for part, answer in zip(found, answers, strict=True)
    ]
    problems = _problems(services)
    healthy = all(part.healthy for part in parts) and not problems
    return StackStatus(healthy, True, parts, read_pipeline(services), problems)


def read_pipeline(services: Services) -> dict[str, Any]:
    """Ask de-identifier and index.

    Returns
    -------
    dict
        The figures that both gave.
    """
    found: dict[str, Any] = {}
    for part in services.parts():
        if part.name == "deid":
            part.check()
    for name in ("queued", "ingest_instances", "quarantined", "counts", "per_s", "rules_digest"):
        if name in services.details.get("deid", {}):
            found[name] = services.details["deid"][name]
    with contextlib.suppress(ValueError):
        health = checked(lambda: indexer(services.database_url("postgres")))
        if health.ok:
            found["searchable"] = int(health.detail.split()[0])
    return found


def program_pid(services: Services, supervisor: Supervisor, name: str) -> int:
    """Return the process of a part, 0 if it does not run. The gateway's parent is the Hub, not the supervisor."""
    if name == "gateway":
        port = services.settings.ports.gateway
        found = listeners([port]).get(port)
        return found.pid if found else 0
    return supervisor.state(name).pid


def log_of(supervisor: Supervisor, part: Part) -> Path:
    """Return where a part's log is. The gateway writes into the Hub's."""
    return supervisor.log("jupyterhub" if part.name == "gateway" else part.name)


def _problems(services: Services) -> list[str]:
    """Return what services say of the files that people edit. Of permissions the gateway tells only a number."""
    from rpacs_hub.errors import PermissionsError
    from rpacs_hub.permissions import load_permissions

    settings = services.settings
    problems = []
    rules = services.details.get("deid", {}).get("rules_error")
    if rules:
        problems.append(f"rules file {settings.rules_file}; the last valid one stays in force:\n{rules}")
    if (services.details.get("gateway", {}).get("permissions") or {}).get("error"):
        try:
            load_permissions(settings.permissions_file)
            words = "the gateway refuses it: see its log"
        except PermissionsError as error:
            words = str(error)
        problems.append(f"permissions file {settings.permissions_file}; the last valid one stays in force:\n{words}")
    return problems


def _part_status(
    services: Services, supervisor: Supervisor, part: Part, state: ProgramState | None, answer: Health
) -> PartStatus:
    pid = state.pid if state else 0
    if part.name == "gateway" and answer.ok:
        pid = program_pid(services, supervisor, "gateway")
    detail = answer.detail
    if not answer.ok and state is not None and state.state not in ("RUNNING", "STARTING"):
        detail = f"{state.state.lower()}: {state.detail}"
    user = ""
    if pid:
        with contextlib.suppress(OSError, KeyError):
            user = pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name
    # The Hub runs the gateway, so the supervisor does not know since when.
    since = state.since if state else running.seconds if (running := process(pid)) else 0
    log = str(log_of(supervisor, part))
    return PartStatus(part.name, part.title, part.address, answer.ok, detail, pid, since, user, log)
