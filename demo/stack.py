"""The whole stack: starting, asking and stopping it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from demo import accounts
from demo.access import OrthancAccess, S3Access
from demo.errors import PartFailedError, StackError
from demo.health import Health
from demo.processes import Process, end, listeners, marked, wait_gone
from demo.services import Part, Services
from demo.settings import Settings
from demo.status import StackStatus, log_of, program_pid, read_pipeline, read_status
from demo.supervision import Supervisor

Say = Callable[[str], None]

_STOP_FIRST = ("jupyterhub", "deid", "indexer", "login")
_STOP_THEN = ("ingest", "research")


class Stack:
    """One stack.

    Parameters
    ----------
    settings
        Its settings; by default those of ``settings.toml`` and the environment.
    say
        Gets each line of progress.
    """

    def __init__(self, settings: Settings | None = None, say: Say = lambda _: None):
        self.settings = settings or Settings.load()
        self.services = Services(self.settings)
        self.supervisor = Supervisor(self.settings.var / "run", self.settings.logs, str(self.settings.var))
        self._say = say
        self._hopeless = threading.Event()

    # ---- what others need to know ----

    @property
    def hub_url(self) -> str:
        """The address that people open."""
        return self.settings.hub_url

    @property
    def gateway_url(self) -> str:
        """The gateway, through the Hub's proxy, without a slash at the end."""
        return self.settings.gateway_url

    @property
    def logins(self) -> dict[str, str]:
        """Password of each demo user."""
        return self.services.passwords

    @property
    def s3(self) -> S3Access:
        """The S3 server with the demo researcher's keys."""
        return self._s3_access("clara")

    @property
    def s3_admin(self) -> S3Access:
        """The S3 server with its administrator's keys."""
        return self._s3_access("admin")

    def _s3_access(self, who: str) -> S3Access:
        settings = self.settings
        keys = self.services.s3_keys(who)
        return S3Access(settings.s3_url, settings.exports_bucket, settings.forbidden_bucket, *keys)

    @property
    def ingest(self) -> OrthancAccess:
        """The ingest Orthanc."""
        url = self.services.orthanc_url("ingest", "stack")
        return OrthancAccess(url, self.settings.ingest_aet, self.settings.ports.ingest_dicom)

    @property
    def research(self) -> OrthancAccess:
        """The research Orthanc."""
        url = self.services.orthanc_url("research", "stack")
        return OrthancAccess(url, self.settings.research_aet, self.settings.ports.research_dicom)

    @property
    def database_url(self) -> str:
        """The database, as its superuser."""
        return self.services.database_url("postgres")

    def program_pid(self, name: str) -> int:
        """Return the process of a part, 0 if it does not run."""
        return program_pid(self.services, self.supervisor, name)

    def wait_healthy(self, names: list[str], timeout: float = 60) -> None:
        """Wait until parts do their work (again).

        Raises
        ------
        PartFailedError
            If one of them does not in time.
        """
        deadline = time.monotonic() + timeout
        for part in self.services.parts():
            if part.name in names:
                while not (health := part.check()).ok:
                    if time.monotonic() > deadline:
                        raise PartFailedError(part.title, health.detail, log_of(self.supervisor, part))
                    time.sleep(0.1)

    # ---- starting ----

    def up(self, *, samples: bool = True) -> None:
        """Start every part that does not run, and wait until all of them do their work.

        Parameters
        ----------
        samples
            Whether to send the sample studies, if that was never done.

        Raises
        ------
        StackError
            If something is in the way. What has been started stays up, so that it can be looked at.
        """
        if accounts.is_root():
            accounts.require_readable_checkout(self.settings.root)
            accounts.require_reachable(self.settings.var.parent, "the folder for its data", readable=False)
            created = accounts.create_service_users()
            if created:
                self._say(f"created the system users {', '.join(created)}")
        else:
            self._say(accounts.NOT_ISOLATED)
        self._claim()
        with self._lock():
            self.services.prepare()
            if self.supervisor.pid is None:
                self._clear_remains()
            self.supervisor.start()
            self._start_all()
            if samples:
                self._send_samples()

    def _claim(self) -> None:
        """Remember who the data belong to: files of many system users cannot be taken over by one, nor the reverse."""
        var = self.settings.var
        if not var.exists():
            return
        owner = var.stat().st_uid
        if owner != os.geteuid():
            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:
                name = str(owner)
            raise StackError(
                f"the data in {var} were made by a stack that the user {name} started: start this one in the same way"
                f"{' (with sudo)' if owner == 0 else ' (without sudo)'}, or give it another folder with RPACS_VAR"
            )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        var = self.settings.var
        var.mkdir(parents=True, exist_ok=True)
        with (var / ".lock").open("w") as file:
            (var / ".lock").chmod(0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError("somebody else is starting or stopping this stack right now: wait for it") from None
            yield

    def _clear_remains(self) -> None:
        """End what a stack left that was killed instead of stopped, and refuse to start over somebody else's ports."""
        remains = marked(self.settings.var, self.settings.ports.hub_api)
        if remains:
            self._say(f"ending {len(remains)} processes that an earlier start left behind")
            self._end_all(remains)
        busy = listeners(port for part in self.services.parts() for port in part.ports)
        if busy:
            who = "\n".join(
                f"    {port}: {f'{process.command()} (pid {process.pid})' if process else 'unknown'}"
                for port, process in sorted(busy.items())
            )
            raise StackError(
                f"these ports are taken:\n{who}\n"
                "End those programs, or move this stack: RPACS_PORT_OFFSET=100, or change demo/settings.toml"
            )

    def _start_all(self) -> None:
        waiting = list(self.services.parts())
        width = max(len(part.title) for part in waiting)
        ready: set[str] = set()
        # One thread for each part that is starting: a part that is slow to answer must not hold the others up.
        with ThreadPoolExecutor(len(waiting)) as pool:
            starting: dict[Future[None], tuple[Part, float]] = {}
            try:
                while waiting or starting:
                    for part in [part for part in waiting if set(part.after) <= ready]:
                        waiting.remove(part)
                        fresh = self.supervisor.launch(part.program()) if part.program else True
                        self._say(f"starting  {part.title}" if fresh else f"running   {part.title}")
                        starting[pool.submit(self._await, part)] = (part, time.monotonic())
                    for done in wait(starting, return_when=FIRST_COMPLETED).done:
                        part, begun = starting.pop(done)
                        done.result()
                        ready.add(part.name)
                        self._say(
                            f"ready     {part.title:<{width}}  {time.monotonic() - begun:5.1f} s   {part.address}"
                        )
            finally:
                self._hopeless.set()
        self._hopeless.clear()

    def _await(self, part: Part) -> None:
        """Wait until a part is ready and settled, or it is clear that it will not be."""
        begun = time.monotonic()
        while not (health := part.check()).ok:
            if self._hopeless.wait(0.1):  # another part failed
                return
            self._give_up_if_hopeless(part, health, begun + part.timeout)
        if part.settle is not None:
            self._settle(part)

    def _settle(self, part: Part) -> None:
        assert part.settle is not None
        try:
            part.settle()
        except StackError:
            raise
        except Exception as error:
            raise PartFailedError(
                part.title, f"it could not be set up: {error}", log_of(self.supervisor, part)
            ) from error

    def _give_up_if_hopeless(self, part: Part, health: Health, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise PartFailedError(
                part.title, f"after {part.timeout:.0f} s it still {_verb(health)}", log_of(self.supervisor, part)
            )
        state = self.supervisor.state("jupyterhub" if part.program is None else part.name)
        # One early death may be bad luck; supervisord tries again, a little later each time.
        if state.state == "FATAL" or (state.state == "BACKOFF" and time.monotonic() > deadline - part.timeout + 8):
            raise PartFailedError(
                part.title, f"its process ends right away ({state.detail})", log_of(self.supervisor, part)
            )

    # ---- samples ----

    def _send_samples(self) -> None:
        from demo.samples import send_samples

        record = self.settings.var / "samples-sent"
        if record.exists():
            return
        begun = time.monotonic()
        count = send_samples(self.settings.ingest_aet, self.settings.ports.ingest_dicom, self._say)
        record.write_text(f"{count}\n", encoding="ascii")
        self._follow(count, begun)

    def _follow(self, count: int, begun: float, timeout: float = 180) -> None:
        """Show how the samples become searchable, until nothing is on its way any more."""
        shown = time.monotonic()
        last = ""
        while time.monotonic() - begun < timeout:
            pipeline = read_pipeline(self.services)
            deid = self.services.details.get("deid", {})
            done = sum(deid.get("counts", {}).get(name, 0) for name in ("done", "discarded"))
            held = sum(deid.get("quarantined", {}).values())
            cleaned = deid.get("counts", {}).get("done", 0)
            searchable = pipeline.get("searchable", 0)
            line = f"          {cleaned} cleaned, {searchable} searchable" + (f", {held} in quarantine" if held else "")
            finished = done + held >= count and searchable >= cleaned
            if line != last and (finished or time.monotonic() - shown > 2):
                self._say(line)
                last, shown = line, time.monotonic()
            if finished:
                self._say(
                    f"          from the first image sent to the last one searchable: {time.monotonic() - begun:.1f} s"
                )
                return
            time.sleep(0.25)
        self._say("          the sample studies are still on their way: `make status` shows how far they are")

    # ---- asking ----

    def status(self) -> StackStatus:
        """Ask every part how it is, all at the same time.

        Raises
        ------
        StackError
            If the stack belongs to another user.
        """
        self._claim()
        return read_status(self.services, self.supervisor)

    # ---- stopping ----

    def stop(self) -> list[str]:
        """Stop everything, researchers' servers included, and make sure that nothing is left.

        Returns
        -------
        list of str
            What had to be ended the hard way, in words; empty after a clean stop.

        Raises
        ------
        StackError
            If something could not be ended at all.
        """
        if not self.settings.var.exists():
            return []
        self._claim()
        with self._lock():
            known = self._known()
            if self.supervisor.pid is not None:
                self._stop_programs()
                known += [process for process in self._known() if process not in known]
                self.supervisor.shut_down()
            left = wait_gone(known, 5)
            forced = [f"{process.command()} (pid {process.pid})" for process in left]
            self._end_all(left)
            self._end_all(self._known())
            self.services.clean_up()
            ours = listeners(port for part in self.services.parts() for port in part.ports)
            if ours and known:
                raise StackError(f"something still listens on {sorted(ours)}, although every process was ended")
            return forced

    def _known(self) -> list[Process]:
        found = self.supervisor.processes()
        below = {process.pid for process in found}
        return found + [
            process for process in marked(self.settings.var, self.settings.ports.hub_api) if process.pid not in below
        ]

    def _stop_programs(self) -> None:
        begun = time.monotonic()
        # SeaweedFS takes 15 s: let it begin at once.
        self.supervisor.halt(["s3"], timeout=0)
        for names in (_STOP_FIRST, _STOP_THEN, ("postgres",), ("s3",)):
            running = {state.name for state in self.supervisor.states() if state.pid}
            stopping = [part for part in self.services.parts() if part.name in names and part.name in running]
            if stopping:
                self.supervisor.halt([part.name for part in stopping], timeout=90)
                titles = ", ".join(part.title for part in stopping)
                self._say(f"stopped   {titles}  ({time.monotonic() - begun:.1f} s)")

    def _end_all(self, processes: list[Process]) -> None:
        left = end(processes, polite=5)
        if left:
            names = ", ".join(f"{process.command()} (pid {process.pid})" for process in left)
            raise StackError(f"these processes could not be ended: {names}")


def _verb(health: Health) -> str:
    words = health.detail
    return words if words.startswith(("does", "takes", "answers", "says")) else f"says: {words}"
