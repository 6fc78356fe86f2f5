"""A folder whose files go to the ingest Orthanc, for those who have files instead of a scanner.

A file is taken once it has not changed for two seconds, and removed once the server reports the digest of exactly its
bytes. What is not DICOM is moved to a second folder under a neutral name, since file names often are patients' names.
No file name is ever logged.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

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
        self._uploaded: dict[Path, tuple[int, int, float]] = {}
        self._lock: int | None = None

    def sweep(self) -> int:
        """Upload what is complete and return how many files were taken. Blocks; to be called again and again.

        Only one process at a time works on a folder; for the others this does nothing.
        """
        taken, wrong = 0, None
        try:
            if not self._holds_lock():
                return 0
            for path in self._complete():
                try:
                    taken += self._take(path)
                except OSError as error:  # one file that may not be read or removed does not keep the others
                    wrong = f"a file of the folder inbox cannot be taken: {error.strerror}"
            self._remove_empty_folders()
        except OSError as error:
            wrong = f"the folder inbox cannot be emptied: {error.strerror}"
        except (OrthancUnavailableError, OrthancRefusalError) as error:
            wrong = f"the folder inbox waits: {error}"
        if wrong is None:
            self._troubles.clear("folder inbox")
        else:
            self._troubles.report("folder inbox", wrong)
        return taken

    def is_empty(self) -> bool:
        """Tell whether no file waits that `sweep` would take now or later."""
        return next(self._files(), None) is None

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _holds_lock(self) -> bool:
        if self._lock is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked: a lock file in it would have to be told from the user's files.
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for parent, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                    continue
                path = Path(parent, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield path, status

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
        if self._uploaded.get(path) != self._seen[str(path)]:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return 0
            problem = self._upload_archive(path) if data.startswith(_ZIP) else self._upload(data)
            if problem is not None:
                self._set_aside(path, data, problem)
                return 1
            # A file that we may read but not remove would otherwise be uploaded again at every look.
            self._uploaded[path] = self._seen[str(path)]
        path.unlink(missing_ok=True)
        del self._uploaded[path]
        return 1

    def _upload(self, data: bytes) -> str | None:
        """Upload one file; return what is wrong with it, None once the server is known to hold it."""
        try:
            stored = self._ingest.store(data)
        except OrthancRefusalError as error:
            if error.status >= 500:
                raise
            return "The server does not take this file for a DICOM instance: it is something else, or it is damaged."
        if self._ingest.md5(stored.orthanc_id) in (md5_of(data), ""):
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
                        self._write_aside(data, problem)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
            return "This ZIP archive cannot be read: it is damaged, encrypted or of an unknown kind."
        return None

    def _set_aside(self, path: Path, data: bytes, problem: str) -> None:
        target = self._reason(data, problem)
        shutil.move(path, target)
        target.chmod(0o600)

    def _write_aside(self, data: bytes, problem: str) -> None:
        target = self._reason(data, problem)
        target.touch(mode=0o600)
        target.write_bytes(data)

    def _reason(self, data: bytes, problem: str) -> Path:
        """Write the reason beside the place where the file will be, and return that place."""
        self._refused.mkdir(parents=True, exist_ok=True)
        # The same file dropped twice is refused twice under one name.
        name = hashlib.sha256(data).hexdigest()[:24]
        (self._refused / f"{name}.reason.txt").write_text(problem + "\n", encoding="utf-8")
        _log.warning("a file of the folder inbox was refused and set aside as %s", name)
        return self._refused / name

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
