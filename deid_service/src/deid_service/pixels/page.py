"""Pages that show frames before and after, for a person on the clinical side to look at.

A page is one file. It holds its pictures, asks no server for anything and runs no script; its own policy forbids both.
It follows the reader's choice of light or dark.
"""

from __future__ import annotations

import base64
import html
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Final, Self, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deid_service.pixels.shown import PixelsShown, ShownBox, ShownFrame

__all__ = ["PixelPage", "fragment"]

_LABELLED: Final = 8
_WARNING: Final = (
    "These pictures and names identify patients. Keep this page on the clinical side: do not send it, do not put it"
    " into a ticket or beside research data, and delete it when you have looked."
)
_OUTCOMES: Final = {"cleaned": "forwarded", "refused": "held back", "discarded": "not forwarded"}
_RULES: Final = ("Manual", "Catalogue", "UltrasoundRegions", "OCR", "Text left")

_STYLE: Final = """
.rpx { font: 14px/1.45 system-ui, sans-serif; --line: color-mix(in srgb, currentColor 22%, transparent); }
.rpx h2 { font-size: 15px; margin: 0 0 4px; overflow-wrap: anywhere; font-weight: 600; }
.rpx p { margin: 2px 0; max-width: 110ch; }
.rpx .badge { font-size: 12px; border-radius: 9px; padding: 1px 9px; margin-left: 4px; font-weight: 600;
  white-space: nowrap; color: #fff; background: #5b6470; }
.rpx .badge.refused { background: #b3261e; } .rpx .badge.cleaned { background: #1c6e3d; }
.rpx .warning { border: 1px solid #b3261e; border-left-width: 6px; padding: 6px 10px; margin: 0 0 12px;
  font-weight: 600; max-width: none; }
.rpx .row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 10px; margin: 8px 0 0;
  align-items: end; }
.rpx .texts { font-size: 12px; margin: 4px 0; padding-left: 18px; columns: 3 30ch; }
.rpx figure { margin: 0; } .rpx figcaption { font-size: 12px; margin-bottom: 3px; }
.rpx label { display: block; cursor: zoom-in; } .rpx input.zoom { position: absolute; opacity: 0; }
.rpx input.zoom:focus-visible + .view { outline: 2px solid #1a73e8; }
.rpx .on { display: block; position: relative; width: min(100%, var(--w)); background: #000;
  outline: 1px solid var(--line); }
.rpx img { display: block; width: 100%; height: auto; margin: 0; image-rendering: auto; }
.rpx .small img { image-rendering: pixelated; }
.rpx .zoom:checked + .view { position: fixed; inset: 0; z-index: 1000; background: #000e; display: grid;
  place-items: center; cursor: zoom-out; }
.rpx .zoom:checked + .view .on { width: min(98vw, 96vh * var(--r)); }
.rpx .nothing { display: grid; place-items: center; min-height: 140px; padding: 8px;
  border: 1px dashed var(--line); text-align: center; font-size: 13px; box-sizing: border-box; }
.rpx .box { position: absolute; outline: 2px solid var(--c); }
.rpx .box b { position: absolute; bottom: calc(100% + 2px); left: -2px; font: 600 10px/13px system-ui, sans-serif;
  padding: 0 3px; white-space: nowrap; color: var(--c); background: #000d; z-index: 1; }
.rpx .box.high b { bottom: auto; top: calc(100% + 2px); } .rpx .box.tall.high b { top: 1px; left: 1px; }
.rpx .box.right b { left: auto; right: -2px; }
.rpx .Manual { --c: #ffd60a; } .rpx .Catalogue { --c: #30d5ff; } .rpx .UltrasoundRegions { --c: #ff8ae2; }
.rpx .OCR { --c: #66ff7f; } .rpx .Text-left { --c: #ff7a70; }
.rpx .box.Text-left { background: #ff3b3033; }
.rpx .box.Catalogue { outline-style: dashed; } .rpx .box.UltrasoundRegions { outline-style: dotted; }
.rpx .box.Text-left { outline-width: 3px; }
.rpx .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 10px; padding: 0; margin: 6px 0 10px;
  font-size: 12px; }
.rpx .legend li, .rpx .chip { background: #16191d; color: var(--c); border-radius: 3px; padding: 0 7px; margin: 0;
  font-weight: 600; border: 1px solid var(--line); }
.rpx .chip { padding: 0 5px; margin-left: 4px; white-space: nowrap; }
.rpx section { border-top: 1px solid var(--line); padding: 12px 0; }
.rpx table { border-collapse: collapse; margin: 8px 0; font-size: 13px; }
.rpx td, .rpx th { padding: 2px 14px 2px 0; text-align: left; font-weight: 400; vertical-align: top; }
.rpx td:first-child { text-align: right; font-variant-numeric: tabular-nums; font-weight: 600; }
@media (max-width: 700px) { .rpx .row { grid-template-columns: minmax(0, 1fr); } }
@media print { .rpx section { break-inside: avoid; } }
"""
_PAGE_STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 16px 20px; max-width: 1500px; background: #fff; color: #1b1f24; }
@media (prefers-color-scheme: dark) { body { background: #14181d; color: #e4e8ee; } }
h1 { font-size: 20px; margin: 0 0 10px; }
fieldset { border: 0; padding: 0; margin: 6px 0 12px; display: flex; flex-wrap: wrap; gap: 4px 14px; }
legend { float: left; padding: 0; margin-right: 4px; } fieldset label { cursor: pointer !important; }
body:has(#only-refused:checked) section:not(.refused), body:has(#only-masked:checked) section:not(.masked),
body:has(#only-untouched:checked) section:not(.untouched) { display: none; }
"""
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class PixelPage:
    """A page of instances, made one at a time: what was added is kept in a temporary file without a name.

    To be used in a ``with`` block, which closes that file.

    Parameters
    ----------
    title : str
        Heading.
    notes : sequence of str, optional
        Lines below it.
    side : int, optional
        Longest side of a picture, in pixels; larger ones are made smaller.
    """

    def __init__(self, title: str, notes: Sequence[str] = (), side: int = 1024) -> None:
        self._title = title
        self._notes = list(notes)
        self._side = side
        self._body = tempfile.TemporaryFile("w+", encoding="utf-8", newline="", prefix="rpacs-")  # noqa: SIM115
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._triage: Counter[str] = Counter()
        self._masked = self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._body.close()

    def note(self, line: str) -> None:
        """Add a line below the heading."""
        self._notes.append(line)

    def add(self, shown: PixelsShown, *notes: str, unless_unchanged: bool = False) -> None:
        """Add an instance.

        Parameters
        ----------
        shown : PixelsShown
            The instance.
        notes : str
            Further lines about it.
        unless_unchanged : bool, optional
            Count it only, if its pixels stayed as they were.
        """
        self._outcomes[shown.outcome] += 1
        if shown.reason:
            self._reasons[shown.reason] += 1
        if shown.report is not None:
            self._triage[_triage(shown)] += 1
            self._masked += shown.outcome == "cleaned" and bool(shown.report.found)
        if shown.changed or not unless_unchanged:
            self._shown += 1
            self._body.write(_section(shown, self._side, notes))

    def write(self, file: TextIO) -> None:
        """Write the page.

        Parameters
        ----------
        file : text file
            From :func:`deid_service._output.private_text`: nobody else may read it.
        """
        title = html.escape(self._title)
        file.write(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex"><meta name="referrer" content="no-referrer">'
            f"<title>{title}</title><style>{_PAGE_STYLE}{_STYLE}</style></head>\n"
            f'<body class="rpx"><h1>{title}</h1><p class="warning" role="note">{_WARNING}</p>\n'
        )
        file.writelines(f"<p>{html.escape(note)}</p>" for note in self._notes)
        total = self._outcomes.total()
        if total != 1:
            self._write_summary(file, total)
        file.write(f"{_legend(_RULES)}\n")
        self._body.seek(0)
        shutil.copyfileobj(self._body, file)
        file.write("</body></html>\n")

    def _write_summary(self, file: TextIO, total: int) -> None:
        rows = [
            (self._outcomes["cleaned"], f"forwarded, {self._masked} of them with something blacked out"),
            *((number, f"held back: {reason}") for reason, number in self._reasons.most_common()),
            (self._outcomes["discarded"], "not forwarded, outside the rules' scope"),
        ]
        shown = (
            "all shown" if self._shown == total else f"{self._shown} shown: those whose pixels change or are held back"
        )
        file.write(f"<p><b>{total} instances</b>, {shown}.</p>{_table(rows)}")
        if self._triage:
            file.write(
                f"<details><summary>What triage says</summary>{_table([*map(_swapped, self._triage.most_common())])}"
                "</details>"
            )
        choices = [("all", "all"), ("refused", "held back"), ("masked", "blacked out"), ("untouched", "untouched")]
        file.write("<fieldset><legend>Show</legend>")
        for number, (name, words) in enumerate(choices):
            chosen = "" if number else " checked"
            file.write(f'<label><input type="radio" name="only" id="only-{name}"{chosen}> {words}</label>')
        file.write("</fieldset>")


def fragment(shown: PixelsShown) -> str:
    """Return an instance as HTML for a notebook.

    Parameters
    ----------
    shown : PixelsShown
        The instance.
    """
    rules = [rule for rule in _RULES if any(one.rule == rule for frame in shown.frames for one in _all(frame))]
    return (
        f'<div class="rpx"><style>{_STYLE}</style><p class="warning" role="note">{_WARNING}</p>'
        f"{_legend(rules)}{_section(shown, 1024, ())}</div>"
    )


def _section(shown: PixelsShown, side: int, notes: Sequence[str]) -> str:
    kind = "masked" if shown.report and shown.report.found else "untouched"
    words = _OUTCOMES[shown.outcome]
    lines = [*notes]
    if shown.reason:
        lines.append(f"Held back: {shown.reason}: {shown.message}")
    if shown.report is not None:
        lines.append(f"Triage: {_triage(shown)}.")
        lines += _found(shown)
    if shown.problem and shown.problem != f"{shown.reason}: {shown.message}":
        lines.append(f"Not all can be shown: {shown.problem}.")
    if len(shown.frames) < shown.number:
        lines.append(f"{len(shown.frames)} of {shown.number} frames are shown.")
    return (
        f'<section class="{"refused" if shown.outcome == "refused" else kind}"><h2>{html.escape(shown.name)} '
        f'<span class="badge {shown.outcome}">{words}</span></h2>'
        + "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        + "".join(_row(shown, frame, side) for frame in shown.frames)
        + "</section>\n"
    )


def _triage(shown: PixelsShown) -> str:
    assert shown.report is not None
    return f"{'suspected' if shown.report.suspected else 'not suspected'}, {shown.report.reason}"


def _found(shown: PixelsShown) -> list[str]:
    report = shown.report
    assert report is not None
    counts: Counter[str] = Counter()
    for one in report.found:
        counts[one.rule] += len(one.boxes)
    lines = []
    if counts:
        boxes = ", ".join(f"{number} by {rule}" for rule, number in counts.items())
        frames = f", in {report.frames_masked} of {report.frames} frames" if report.frames_masked else ""
        lines.append(f"Boxes: {boxes}{frames}.")
    if report.second_look != "not made":
        lines.append(f"{'Second look' if counts else 'Search'}: {report.second_look}.")
    return lines


def _row(shown: PixelsShown, frame: ShownFrame, side: int) -> str:
    name = f"frame {frame.index + 1} of {shown.number}"
    share = f"{100 * frame.black:.1f} % of it black"
    if shown.outcome == "cleaned":
        result = f"result: {share}" if frame.boxes else "result: as it was"
    else:
        result = f"not forwarded; it would be so: {share}"
    if frame.left:
        result += "; and text is left"
    before = _picture(frame.before, side)
    figures = [
        _figure(f"original, {name}", before, frame.before.shape, ()),
        _figure("boxes" if frame.boxes else "boxes: none", before, frame.before.shape, frame.boxes),
    ]
    if frame.after is None:
        why = "outside the rules' scope" if shown.outcome == "discarded" else "held back"
        figures.append(f"<figure><figcaption>result</figcaption><div class='nothing'>no copy: {why}</div></figure>")
    else:
        figures.append(_figure(result, _picture(frame.after, side), frame.after.shape, frame.left))
    return f'<div class="row">{"".join(figures)}</div>{_texts(_all(frame))}\n'


def _figure(caption: str, picture: str, shape: tuple[int, ...], boxes: Sequence[ShownBox]) -> str:
    rows, columns = shape[:2]
    words = html.escape(caption)
    small = " small" if columns < 256 else ""
    # Small pictures are enlarged, but not to the width of the page.
    style = f"--r:{columns / rows:.4f};--w:{max(columns, min(4 * columns, 256))}px"
    return (
        f"<figure><figcaption>{words}{_chips(boxes)}</figcaption>"
        '<label><input type="checkbox" class="zoom" aria-label="enlarge">'
        f'<span class="view{small}"><span class="on" style="{style}"><img alt="{words}" src="{picture}">'
        f"{_boxes(boxes, rows, columns)}</span></span></label></figure>"
    )


def _boxes(boxes: Sequence[ShownBox], rows: int, columns: int) -> str:
    # Many labels would hide the picture: then colours and the caption say which rule it was.
    few = len(boxes) <= _LABELLED
    drawn = []
    for one in boxes:
        box = one.box
        left, top = 100 * box.left / columns, 100 * box.top / rows
        width, height = 100 * (box.right - box.left + 1) / columns, 100 * (box.bottom - box.top + 1) / rows
        label = one.rule if few else ""
        tip = one.rule if one.text is None else f"{one.rule}: {one.text}"
        place = "".join(
            f" {name}" for name, so in (("high", top < 5), ("tall", height > 8), ("right", left > 70)) if so
        )
        drawn.append(
            f'<span class="box {_class(one.rule)}{place}" title="{html.escape(tip)}"'
            f' style="left:{left:.3f}%;top:{top:.3f}%;width:{width:.3f}%;height:{height:.3f}%">'
            f"{f'<b>{html.escape(label)}</b>' if label else ''}</span>"
        )
    return "".join(drawn)


def _texts(boxes: Sequence[ShownBox]) -> str:
    """List what was read in the boxes, if somebody asked for it."""
    lines = dict.fromkeys(f"{one.rule}: {one.text or 'not read'}" for one in boxes if one.text is not None)
    return f"<ul class='texts'>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _picture(picture: NDArray[np.uint8], side: int) -> str:
    image = Image.fromarray(np.ascontiguousarray(picture))
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _legend(rules: Sequence[str]) -> str:
    chips = "".join(f'<li class="{_class(rule)}">{rule}</li>' for rule in rules)
    return f'<ul class="legend">{chips}</ul>' if chips else ""


def _chips(boxes: Sequence[ShownBox]) -> str:
    """Say how many boxes are whose, each in its colour."""
    counts = Counter(one.rule for one in boxes)
    return "".join(f' <b class="chip {_class(rule)}">{rule} {number}</b>' for rule, number in counts.items())


def _class(rule: str) -> str:
    return rule.replace(" ", "-")


def _table(rows: Sequence[tuple[int, str]]) -> str:
    body = "".join(f"<tr><td>{number}</td><td>{html.escape(words)}</td></tr>" for number, words in rows if number)
    return f"<table><tbody>{body}</tbody></table>"


def _swapped(pair: tuple[str, int]) -> tuple[int, str]:
    return pair[1], pair[0]


def _all(frame: ShownFrame) -> tuple[ShownBox, ...]:
    return (*frame.boxes, *frame.left)
