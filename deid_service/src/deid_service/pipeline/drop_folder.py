"""A folder whose files go to the ingest Orthanc, for those who have files instead of a scanner.

A file is taken once it has not changed for two seconds, and removed once the server reports the digest of exactly its
bytes. What is not DICOM is moved to a second folder under a neutral name, since file names often are patients' names.
No file name is ever logged. What the service's user may not read or remove stays where it is, and the way to mend that
is told; it is tried again at every look.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import pwd
import shlex
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from deid_service._buffers import Data, open_file
from deid_service._orthanc import Orthanc, md5_of
from deid_service.pipeline.errors import OrthancRefusalError, OrthancUnavailableError
from deid_service.pipeline.troubles import Troubles

__all__ = ["DropFolder"]

_log = logging.getLogger("deid_service.pipeline")

_SETTLE_SECONDS = 2.0
# Names that copying programs and browsers give to a file that is still on its way.
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
_ZIP = b"PK\x03\x04"


class DropFolder:
    """Empties a folder into the ingest Orthanc.

    Parameters
    ----------
    folder
        Looked through with all its subfolders. Symbolic links are not followed.
    refused
        Where files go that the server does not take, each with a text beside it that says why.
    ingest
        The server.
    troubles
        Where trouble is reported.
    settle_seconds
        How long a file must not have changed.
    """

    def __init__(
        self,
        folder: Path,
        refused: Path,
        ingest: Orthanc,
        troubles: Troubles,
        *,
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        self._folder, self._refused, self._ingest, self._troubles = folder, refused, ingest, troubles
        self._settle = settle_seconds
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._dealt_with: dict[Path, tuple[int, int, float]] = {}
        self._stuck: set[Path] = set()
        self._denied: set[str] = set()
        self._lock: int | None = None

    def sweep(self) -> int:
        """Upload what is complete and return how many files were taken. Blocks; to be called again and again.

        Only one process at a time works on a folder; for the others this does nothing.
        """
        taken, wrong, whole = 0, None, False
        self._denied.clear()
        self._stuck.clear()
        try:
            if self._holds_lock():
                for path in self._complete():
                    try:
                        taken += self._take(path)
                    except OSError as error:  # one file that cannot be taken does not keep the others
                        wrong = f"a file of the folder inbox cannot be taken: {error.strerror}"
                self._remove_empty_folders()
                whole = True
        except OSError as error:
            wrong = f"the folder inbox cannot be emptied: {error.strerror}"
        except (OrthancUnavailableError, OrthancRefusalError) as error:
            wrong = f"the folder inbox waits: {error}"
        self._report("folder inbox", wrong)
        # Apart from the above: a server that dies and comes back is no reason to tell of the permissions once more.
        if self._denied or whole:
            self._report("permissions of the folder inbox", "; ".join(sorted(self._denied)) or None)
        return taken

    def _report(self, topic: str, wrong: str | None) -> None:
        if wrong is None:
            self._troubles.clear(topic)
        else:
            self._troubles.report(topic, wrong)

    def is_empty(self) -> bool:
        """Tell whether no file waits that `sweep` would take now or later, as things and permissions are."""
        return all(path in self._stuck for path, _ in self._files())

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _holds_lock(self) -> bool:
        if self._lock is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            # The folder itself is locked: a lock file in it would have to be told from the user's files.
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            self._denied.add(self._may_not_read())
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for parent, folders, names in os.walk(self._folder, onerror=self._note_closed_folder):
            folders.sort()
            for name in sorted(names):
                if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                    continue
                path = Path(parent, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                except PermissionError:  # a folder that lets its names be listed and no more
                    self._denied.add(self._may_not_read())
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield path, status

    def _note_closed_folder(self, error: OSError) -> None:
        if isinstance(error, PermissionError):
            self._denied.add(self._may_not_read())

    def _complete(self) -> Iterator[Path]:
        now = time.monotonic()
        before, self._seen = self._seen, {}
        for path, status in self._files():
            size, changed, since = before.get(str(path), (-1, -1, now))
            if (size, changed) != (status.st_size, status.st_mtime_ns):
                since = now
            self._seen[str(path)] = (status.st_size, status.st_mtime_ns, since)
            if now - since >= self._settle:
                yield path

    def _take(self, path: Path) -> int:
        if self._dealt_with.get(path) != self._seen[str(path)]:
            try:
                data = open_file(path)
            except FileNotFoundError:
                return 0
            except PermissionError:
                return self._leave(path, self._may_not_read())
            try:
                problem = self._upload_archive(path) if data[: len(_ZIP)] == _ZIP else self._upload(data)
                if problem is not None:
                    self._set_aside(data, problem)
            except PermissionError:
                return self._leave(path, _denied("write to the folder of refused files", self._refused))
            # A file that we may read but not remove would otherwise be dealt with again at every look.
            self._dealt_with[path] = self._seen[str(path)]
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            return self._leave(path, _denied("remove from the folder inbox what it has taken", self._folder))
        del self._dealt_with[path]
        return 1

    def _leave(self, path: Path, why: str) -> int:
        self._stuck.add(path)
        self._denied.add(why)
        return 0

    def _may_not_read(self) -> str:
        return _denied("read all that is in the folder inbox", self._folder, "a+rX")

    def _upload(self, data: Data) -> str | None:
        """Upload one file; return what is wrong with it, None once the server is known to hold it."""
        try:
            stored = self._ingest.store([memoryview(data)])
        except OrthancRefusalError as error:
            if error.status >= 500:
                raise
            return "The server does not take this file for a DICOM instance: it is something else, or it is damaged."
        if self._ingest.md5(stored.orthanc_id) in (md5_of([memoryview(data)]), ""):
            return None
        if stored.already:
            return "Another file with the same UIDs is waiting to be de-identified. Drop this one again afterwards."
        raise OrthancUnavailableError(
            f"{self._ingest.name} ({self._ingest.address}) did not keep a file as it was sent"
        )

    def _upload_archive(self, path: Path) -> str | None:
        """Upload each file of a ZIP archive. Those that are refused are set aside one by one, the others are in."""
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if member.is_dir():
                        continue
                    data = archive.read(member)
                    problem = self._upload(data) if data else None
                    if problem is not None:
                        self._set_aside(data, problem)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
            return "This ZIP archive cannot be read: it is damaged, encrypted or of an unknown kind."
        return None

    def _set_aside(self, data: Data, problem: str) -> None:
        """Write a file that was refused and the reason beside it."""
        self._refused.mkdir(parents=True, exist_ok=True)
        # The same file dropped twice is refused twice under one name.
        name = hashlib.sha256(data).hexdigest()[:24]
        (self._refused / f"{name}.reason.txt").write_text(problem + "\n", encoding="utf-8")
        target = self._refused / name
        target.touch(mode=0o600)
        target.write_bytes(data)
        _log.warning("a file of the folder inbox was refused and set aside as %s", name)

    def _remove_empty_folders(self) -> None:
        for parent, _, _ in os.walk(self._folder, topdown=False):
            if Path(parent) == self._folder:
                continue
            try:
                # Somebody may just be about to fill it.
                if time.time() - Path(parent).stat().st_mtime > self._settle:
                    Path(parent).rmdir()
            except OSError:
                continue


def _denied(what: str, folder: Path, others: str = "") -> str:
    """Say what the service's user may not do, and the commands that let it. No file is named."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user needs no name
        user = str(os.geteuid())
    place = shlex.quote(str(folder.absolute()))
    text = f"the service's user {user} may not {what}: `chown -R {user} {place} && chmod -R u+rwX {place}` lets it"
    return text + (f", and so does `chmod -R {others} {place}`, which lets all others too" if others else "")
