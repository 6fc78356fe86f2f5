"""A stand-in for the gateway, for the client's own tests and for work on the widgets. NOT the gateway.

It speaks the same HTTP: same paths, bodies, statuses and errors, over invented images. What it does not do is search
by the whole query language (it knows ``TAG StrEquals|StrNotEquals|Exists VALUE`` joined by AND) or write to S3 (an
export only counts).
The real gateway is tested with this client in the repository's ``tests/``.

Run it by hand with ``python gateway_server.py [PORT]``.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import datetime
import fnmatch
import functools
import io
import json
import re
import sys
import threading
import uuid
from typing import Any

import numpy as np
import pydicom
import tornado.httpserver
import tornado.netutil
import tornado.web
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import dicom_query

PREFIX = "/services/pacs/api/v1/"
TOKENS = {"token-clara": "clara", "token-nora": "nora", "token-admin": "admin", "token-rosa": "rosa"}
ASKED = "the number of your ethics approval"
CONDITION = re.compile(r"""\s*([\w.]+)\s+(\w+)(?:\s+("[^"]*"|'[^']*'|[^\s"']+))?\s*""")
OPERATORS = {"strequals", "strnotequals", "exists"}
KEYS = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}
DEFAULT_COLUMNS = {
    "patient": "PatientID PatientName PatientSex PatientBirthDate NumberOfPatientRelatedStudies "
    "NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances",
    "study": "PatientID PatientName StudyInstanceUID StudyDate StudyDescription AccessionNumber ModalitiesInStudy "
    "NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
    "series": "PatientID StudyInstanceUID StudyDate StudyDescription SeriesInstanceUID Modality SeriesNumber "
    "SeriesDescription BodyPartExamined NumberOfSeriesRelatedInstances",
    "instance": "PatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID Modality InstanceNumber "
    "NumberOfFrames Rows Columns",
}
DEPTHS = {"CT": 60, "MR": 35}


def uid(*parts: object) -> str:
    return str(generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=[str(p) for p in parts]))


def instances(modality: str, patient: int, study: int, series: int, count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "PatientID": f"R{patient:06d}",
            "PatientName": f"SUBJ{patient:04d}^RESEARCH",
            "PatientSex": "FM"[patient % 2],
            "PatientBirthDate": "" if patient % 5 == 0 else f"{1930 + patient % 70}0101",
            "StudyInstanceUID": uid("study", study),
            "StudyDate": f"20{10 + study % 15:02d}{1 + study % 12:02d}{1 + study % 28:02d}",
            "StudyDescription": more.get("about", "Chest CT"),
            "AccessionNumber": f"A{study:07d}",
            "SeriesInstanceUID": uid("series", series),
            "Modality": modality,
            "SeriesNumber": str(1 + series % 7),
            "SeriesDescription": more.get("named", "Axial 1 mm"),
            "BodyPartExamined": more.get("part", "CHEST"),
            "SOPInstanceUID": uid("instance", series, k),
            "SOPClassUID": str(CTImageStorage),
            "InstanceNumber": str(k + 1),
            # stored feet first: the viewer has to turn the order around
            "ImagePositionPatient": ["-128", "-128", f"{100 - k}"] if modality in DEPTHS else None,
            "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"] if modality in DEPTHS else None,
            "Rows": None if modality == "SR" else 256,
            "Columns": None if modality == "SR" else 256,
            "NumberOfFrames": more.get("frames"),
            "SamplesPerPixel": None if modality == "SR" else 3 if modality == "US" else 1,
            "WindowCenter": {"CT": ["40", "-600"], "MR": "500"}.get(modality),
            "WindowWidth": {"CT": ["400", "1500"], "MR": "1000"}.get(modality),
            "_broken": more.get("broken", False),
        }
        for k in range(count)
    ]


@functools.cache
def catalogue(extra: int) -> tuple[dict[str, Any], ...]:
    rows = instances("CT", 1, 1, 1, 60, about="Thorax low dose", named="Axial 1 mm lung")
    rows += instances("MR", 2, 2, 2, 35, about="Brain", named="T1 sag MPRAGE", part="BRAIN")
    rows += instances("US", 3, 3, 3, 1, about="Thyroid", named="Cine", part="NECK", frames="24")
    rows += instances("SR", 1, 1, 4, 1, about="Thorax low dose", named="Dose report")
    rows += instances("CT", 4, 4, 5, 3, about="Abdomen", named="Unreadable", part="ABDOMEN", broken=True)
    for n in range(extra):
        modality = ("CT", "MR", "PT", "CR")[n % 4]
        rows += instances(modality, 100 + n // 3, 100 + n // 2, 100 + n, 1 + n % 3, named=f"Series {n}")
    return tuple(rows)


class QueryInvalidError(Exception):
    def __init__(self, message: str, position: int, hint: str, expected: tuple[str, ...]) -> None:
        super().__init__(message)
        self.body = {
            "error": "query_invalid",
            "message": message,
            "position": position,
            "hint": hint,
            "expected": list(expected),
        }


def conditions(text: str) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    at = 0
    while text[at:].strip():
        if found:
            joined = re.compile(r"\s*AND\b", re.IGNORECASE).match(text, at)
            if not joined:
                raise QueryInvalidError("Expected AND or the end.", at, "Join conditions with AND.", ("AND", "OR"))
            at = joined.end()
        match = CONDITION.match(text, at)
        if not match:
            raise QueryInvalidError("Expected a tag and an operator.", at, "Such as: Modality StrEquals CT", ("tag",))
        tag, operator, value = match.groups()
        if pydicom.datadict.tag_for_keyword(tag) is None:
            where = match.start(1)
            raise QueryInvalidError(f"There is no DICOM keyword {tag}.", where, "Did you mean Modality?", ("keyword",))
        if operator.lower() not in OPERATORS:
            where = match.start(2)
            raise QueryInvalidError(
                f"There is no operator {operator}.", where, "Did you mean StrEquals?", ("operator",)
            )
        found.append((tag, operator.lower(), (value or "").strip("\"'").lower()))
        at = match.end()
    return found


def matches(row: dict[str, Any], wanted: list[tuple[str, str, str]]) -> bool:
    for tag, operator, value in wanted:
        held = row.get(tag)
        if held is None:
            return False
        if operator != "exists":
            same = fnmatch.fnmatchcase(str(held).lower(), value.replace("[", "[[]"))
            if same == (operator == "strnotequals"):
                return False
    return True


def pixels(row: dict[str, Any], frame: int) -> np.ndarray[Any, Any]:
    """An invented body: an ellipse that grows and shrinks along the series, with a spot that wanders."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    depth = DEPTHS.get(row["Modality"], 24)
    t = (int(row["InstanceNumber"]) + frame - 2) / depth
    r = 0.55 + 0.3 * np.sin(np.pi * t)
    image = np.full((256, 256), -1000.0)
    image[(x / r) ** 2 + (y / (0.7 * r)) ** 2 < 1] = 40
    image[((x - 0.35) / 0.22) ** 2 + (y / 0.36) ** 2 < np.sin(np.pi * t)] = -800
    image[((x + 0.35) / 0.22) ** 2 + (y / 0.36) ** 2 < np.sin(np.pi * t)] = -800
    image[x**2 + (y - 0.4) ** 2 < 0.012] = 700
    image[(x - 0.4 * np.cos(6 * t)) ** 2 + (y - 0.4 * np.sin(6 * t)) ** 2 < 0.008] = 300
    return image + np.random.default_rng(int(t * 1000)).normal(0, 12, image.shape)


def picture(row: dict[str, Any], frame: int, kind: str, window: tuple[float, float] | None, size: int | None) -> bytes:
    image = pixels(row, frame)
    centre, width = window or (40, 400)
    grey = np.clip((image - centre) / width + 0.5, 0, 1) * 255
    out = Image.fromarray(grey.astype("uint8"))
    if row["Modality"] == "US":
        out = Image.merge("RGB", (out, out.point(lambda v: v * 0.8), out.point(lambda v: v * 0.6)))
    if size:
        out.thumbnail((size, size))
    sink = io.BytesIO()
    out.save(sink, "JPEG" if kind == "jpeg" else "PNG", quality=88)
    return sink.getvalue()


def file(row: dict[str, Any]) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = row["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = row["SOPInstanceUID"]
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in row.items():
        if not name.startswith("_") and value is not None:
            setattr(data, name, value)
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation, data.PhotometricInterpretation, data.SamplesPerPixel = 1, "MONOCHROME2", 1
    if "NumberOfFrames" in data:
        del data.NumberOfFrames
    data.PixelData = pixels(row, 1).astype("<i2").tobytes()
    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


class Handler(tornado.web.RequestHandler):
    server: Gateway

    def initialize(self, server: Gateway) -> None:
        self.server = server
        self.set_header("X-Request-Id", uuid.uuid4().hex)

    def prepare(self) -> None:
        self.server.requests.append((self.request.method or "", self.request.path, dict(self.request.headers)))
        if self.server.drop:
            self.server.drop -= 1
            self.request.connection.stream.close()  # type: ignore[union-attr]
            raise tornado.web.Finish
        if self.server.answer_next:
            status, body = self.server.answer_next.pop(0)
            self.set_status(status)
            self.finish(body)
            return
        self.user = TOKENS.get(self.request.headers.get("Authorization", "").removeprefix("token "))
        if self.user is None or self.user in self.server.expired:
            self.refuse(401, "unauthorized", "The token is not valid or has expired.", "Log in again.")
        elif self.user == "rosa" and not (
            self.request.path.endswith(("/me", "/exports")) or self.request.headers.get("X-Access-Reason")
        ):
            message = f"Say first why you need the images. Oncology asks for a reason: {ASKED}."
            self.refuse(403, "reason_required", message, 'In a notebook: pacs = rpacs.connect(reason="…").')

    def refuse(self, status: int, error: str, message: str, hint: str = "", **more: Any) -> None:
        self.set_status(status)
        self.finish({"error": error, "message": message, "hint": hint} | more)

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.request.body or b"{}"))

    def visible(self) -> list[dict[str, Any]]:
        if self.user == "nora":
            return []
        return [r for r in catalogue(self.server.extra) if self.user == "admin" or r["Modality"] in ("CT", "US", "SR")]

    def find(self, wanted: str) -> dict[str, Any] | None:
        row = next((r for r in self.visible() if r["SOPInstanceUID"] == wanted), None)
        if row is None:
            self.refuse(404, "not_found", "No such instance, or none that you may see.")
        return row


class MeHandler(Handler):
    def get(self) -> None:
        profiles = {
            "clara": [
                {
                    "name": "CTOnly",
                    "description": "CT, ultrasound and their reports for the lung study",
                    "via": {"groups": ["ct-researchers"], "users": []},
                    "filter": "Modality StrIn (CT, US, SR)",
                }
            ],
            "rosa": [
                {
                    "name": "Oncology",
                    "description": "",
                    "via": {"users": ["rosa"], "groups": []},
                    "filter": "Modality StrEquals CT",
                    "access_reason": ASKED,
                }
            ],
            "admin": [{"name": "All", "description": "", "via": {"users": ["admin"], "groups": []}, "filter": ""}],
        }.get(str(self.user), [])
        groups = {"clara": ["ct-researchers"], "admin": ["pacs-admins"]}.get(str(self.user), [])
        self.finish(
            {
                "name": self.user,
                "groups": groups,
                "admin": self.user == "admin",
                "profiles": profiles,
                "limits": {"rows": 1000, "s3_endpoints": self.server.endpoints},
            }
        )


class SearchHandler(Handler):
    def post(self) -> None:
        body = self.body
        level, query = body.get("level", "series"), body.get("query", "")
        try:
            wanted = conditions(query)
        except QueryInvalidError as error:
            self.set_status(400)
            self.finish(error.body)
            return
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self.visible():
            groups.setdefault(row[KEYS[level]], []).append(row)
        hits = [rows for rows in groups.values() if any(matches(r, wanted) for r in rows)]
        if self.request.path.endswith("count"):
            self.finish({"level": level, "count": len(hits)})
            return
        columns = body.get("columns") or DEFAULT_COLUMNS[level].split()
        entries = [{c: value(rows, c) for c in columns} for rows in hits]
        for by in reversed(body.get("sort") or []):
            order = [
                (float(v) if str(v).isdigit() else 0, str(v)) for v in (value(rows, by["column"]) for rows in hits)
            ]
            places = sorted(range(len(entries)), key=lambda i: order[i], reverse=bool(by.get("descending")))
            entries, hits = [entries[i] for i in places], [hits[i] for i in places]
        start = int(base64.b64decode(body["cursor"])) if body.get("cursor") else 0
        stop = start + min(int(body.get("limit") or 100), 1000)
        following = base64.b64encode(str(stop).encode()).decode() if stop < len(entries) else None
        rows_out = entries[start:stop]
        self.finish({"level": level, "columns": columns, "rows": rows_out, "total": len(entries), "next": following})


def value(rows: list[dict[str, Any]], column: str) -> Any:
    if column.startswith("NumberOf") and "Related" in column:
        below = {"Instances": "SOPInstanceUID", "Series": "SeriesInstanceUID", "Studies": "StudyInstanceUID"}
        key = next(v for k, v in below.items() if column.endswith(k))
        return len({r[key] for r in rows})
    if column == "ModalitiesInStudy":
        return sorted({r["Modality"] for r in rows})
    return rows[0].get(column)


class ExplainHandler(Handler):
    def get(self) -> None:
        wanted = self.get_argument("uid")
        for level in ("instance", "series", "study"):
            rows = [row for row in self.visible() if row[KEYS[level]] == wanted]
            if rows:
                break
        else:
            self.refuse(404, "not_found", "There is no such instance, series or study, or you may not see it.")
            return
        text = 'CTOnly, through group ct-researchers: shows instances where Modality is one of "CT", "US", "SR".'
        reason = {"profile": "CTOnly", "via": {"users": [], "groups": ["ct-researchers"]}, "instances": len(rows)}
        words = f"You see {len(rows)} instances of this {level}:\n- {text}"
        self.finish(
            {
                "uid": wanted,
                "level": level,
                "instances": len(rows),
                "text": words,
                "reasons": [{**reason, "text": text}],
            }
        )


class CompleteHandler(Handler):
    def get(self) -> None:
        text = self.get_argument("text", "", strip=False)
        at = int(self.get_argument("position", str(len(text))))
        slot = dicom_query.value_slot(text, at)
        if slot is None:
            words = [{"text": w, "kind": kind_of(w), "label": ""} for w in dicom_query.complete(text, at, limit=30)]
            self.finish({"start": dicom_query.word_start(text, at), "end": at, "words": words})
            return
        counts = collections.Counter(str(row.get(str(slot.path)) or "") for row in self.visible())
        words = [
            {
                "text": dicom_query.value_text(dicom_query.TextPattern.literal(v)),
                "kind": "value",
                "label": "",
                "count": n,
            }
            for v, n in counts.most_common(20)
            if v and v.lower().startswith(slot.typed.lower())
        ]
        self.finish({"start": slot.start, "end": at, "words": words})


def kind_of(word: str) -> str:
    if word in ("AND", "OR", "NOT", "(", ")"):
        return "connective"
    return "keyword" if pydicom.datadict.tag_for_keyword(word) is not None else "operator"


class TagsHandler(Handler):
    def get(self, wanted: str) -> None:
        row = self.find(wanted)
        if row is None:
            return
        tags = []
        for name, held in row.items():
            tag = pydicom.datadict.tag_for_keyword(name)
            if tag is not None and held is not None:
                text = "\\".join(held) if isinstance(held, list) else str(held)
                entry = {"path": name, "tag": f"({tag >> 16:04X},{tag & 0xFFFF:04X})", "keyword": name}
                entry |= {"name": pydicom.datadict.dictionary_description(tag)}
                tags.append(entry | {"vr": pydicom.datadict.dictionary_VR(tag), "value": text})
        self.finish({"instance": wanted, "tags": sorted(tags, key=lambda t: t["tag"])})


class FileHandler(Handler):
    def get(self, wanted: str) -> None:
        row = self.find(wanted)
        if row is not None:
            self.set_header("Content-Type", "application/dicom")
            self.finish(file(row))


class FrameHandler(Handler):
    async def get(self, wanted: str, number: str) -> None:
        row = self.find(wanted)
        if row is None:
            return
        if row["_broken"]:
            self.refuse(422, "undecodable", "The pixels of this image cannot be decoded.", "Download the file instead.")
            return
        if int(number) > int(row["NumberOfFrames"] or 1) or row["Rows"] is None:
            self.refuse(404, "not_found", "This image has no such frame.")
            return
        centre, width = self.get_argument("center", None), self.get_argument("width", None)
        window = (float(centre), float(width)) if centre and width else None
        kind = self.get_argument("format", "png")
        size = self.get_argument("size", None)
        await asyncio.sleep(self.server.frame_delay)
        self.set_header("Content-Type", f"image/{kind}")
        self.finish(picture(row, int(number), kind, window, int(size) if size else None))


class ExportsHandler(Handler):
    def get(self) -> None:
        mine = [e for e in self.server.exports.values() if e["user"] == self.user]
        self.finish({"exports": [public(e) for e in reversed(mine)]})

    def post(self) -> None:
        body = self.body
        if not str(body.get("destination", "")).startswith("s3://"):
            self.refuse(400, "destination_invalid", "The destination must be s3://bucket/prefix.", "Such as s3://b/p.")
            return
        level = body.get("level", "series")
        if "uids" in body:
            picked = {(u["level"], u["uid"]) for u in body["uids"]}
            chosen = [r for r in self.visible() if any((lv, r[KEYS[lv]]) in picked for lv in KEYS)]
        else:
            try:
                wanted = conditions(body.get("query", ""))
            except QueryInvalidError as error:
                self.set_status(400)
                self.finish(error.body)
                return
            chosen = [r for r in self.visible() if matches(r, wanted)]
        if not chosen:
            self.refuse(404, "nothing_to_export", "Nothing matches that you may see.")
            return
        record = {
            "id": uuid.uuid4().hex[:12],
            "created": now(),
            "user": self.user,
            "state": "queued",
            "level": level,
            "query": body.get("query"),
            "destination": body["destination"],
            "format": body.get("format", "dicom"),
            "total": len(chosen),
            "done": 0,
            "failed": 0,
            "bytes": 0,
            "message": None,
            "hint": None,
            "started": None,
            "finished": None,
        }
        self.server.exports[str(record["id"])] = record
        self.server.bodies.append(body)
        self.server.run(record, body["credentials"])
        self.set_status(202)
        self.finish(public(record))


class ExportHandler(Handler):
    def record(self, wanted: str) -> dict[str, Any] | None:
        record = self.server.exports.get(wanted)
        if record is None or record["user"] != self.user:
            self.refuse(404, "not_found", "You have no such export.")
            return None
        return record

    def get(self, wanted: str) -> None:
        record = self.record(wanted)
        if record is not None:
            self.finish(public(record))

    def delete(self, wanted: str) -> None:
        record = self.record(wanted)
        if record is not None:
            if record["state"] in ("queued", "running"):
                record.update(state="cancelled", finished=now())
            self.finish(public(record))


class ResumeHandler(ExportHandler):
    def post(self, wanted: str) -> None:
        record = self.record(wanted)
        if record is not None:
            record.update(state="queued", message=None, hint=None, finished=None)
            self.server.run(record, self.body["credentials"])
            self.set_status(202)
            self.finish(public(record))


def public(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"resumable": record["state"] in ("failed", "cancelled", "interrupted")}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


class Gateway:
    """The server, in a thread of its own. Use as a context manager.

    Attributes
    ----------
    url : str
        What a notebook finds in RPACS_URL.
    requests : list
        (method, path, headers) of each request so far.
    bodies : list
        Bodies of the exports so far.
    drop : int
        How many of the next requests lose their connection without an answer.
    answer_next : list
        (status, body) pairs that answer the next requests, whatever these are.
    expired : set
        Users whose token is refused.
    endpoints : list
        S3 servers that exports may go to.
    frame_delay, export_delay : float
        Seconds per picture and per exported image.
    """

    def __init__(self, extra: int = 0, port: int = 0) -> None:
        self.extra = extra
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self.exports: dict[str, dict[str, Any]] = {}
        self.drop = 0
        self.answer_next: list[tuple[int, Any]] = []
        self.expired: set[str] = set()
        self.endpoints = ["http://127.0.0.1:9000"]
        self.frame_delay = 0.0
        self.export_delay = 0.002
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Gateway:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        more = {"server": self}
        routes = [
            ("me", MeHandler),
            ("search", SearchHandler),
            ("count", SearchHandler),
            ("complete", CompleteHandler),
            ("explain", ExplainHandler),
            (r"instances/([^/]+)/tags", TagsHandler),
            (r"instances/([^/]+)/file", FileHandler),
            (r"instances/([^/]+)/frames/(\d+)", FrameHandler),
            ("exports", ExportsHandler),
            (r"exports/([^/]+)", ExportHandler),
            (r"exports/([^/]+)/resume", ResumeHandler),
        ]
        app = tornado.web.Application([(PREFIX + path, handler, more) for path, handler in routes], log_function=quiet)
        sockets = tornado.netutil.bind_sockets(self._port, "127.0.0.1")
        http = tornado.httpserver.HTTPServer(app)
        http.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/services/pacs/"
        self._ready.set()
        await self._stop.wait()
        http.stop()
        await http.close_all_connections()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, record: dict[str, Any], keys: dict[str, str]) -> None:
        task = self._loop.create_task(self._export(record, keys))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _export(self, record: dict[str, Any], keys: dict[str, str]) -> None:
        await asyncio.sleep(self.export_delay * 5)
        if record["state"] != "queued":
            return
        record.update(state="running", started=now())
        bucket = record["destination"].split("/")[2]
        if bucket == "clinical-archive" or keys["secret_key"] == "wrong":
            record.update(
                state="failed",
                finished=now(),
                message=f"The bucket {bucket} refused the first image: access denied.",
                hint="Check the keys and that they may write to this bucket and prefix.",
            )
            return
        while record["done"] < record["total"]:
            await asyncio.sleep(self.export_delay)
            if record["state"] != "running":
                return
            record["done"] += 1
            record["bytes"] += 131072 + 1024
        record.update(state="done", finished=now())


def quiet(_: tornado.web.RequestHandler) -> None:
    """Write no log line."""


if __name__ == "__main__":
    with Gateway(extra=1000, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as gateway:
        gateway.export_delay = 0.15
        print(gateway.url, flush=True)  # noqa: T201
        gateway._thread.join()
