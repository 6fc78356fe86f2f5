"""A rules file, from text to decisions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydicom import Dataset
from yaml.nodes import Node

from deid_service.errors import Problem, RulesError, RulesSourceError
from deid_service.profiles.section import Profile, read_profile
from deid_service.profiles.types import known_sop_classes
from deid_service.rules.compile import Entry, Plan
from deid_service.rules.labels import ALL, Category, Label, read_categories, read_labels
from deid_service.rules.s3_file import S3Address, S3File
from deid_service.rules.schema import Problems
from deid_service.rules.scope import Scope, read_scope
from deid_service.rules.table import Table, read_table
from deid_service.transforms import AddTags, DeleteTags, RandomizeText, RandomizeUID, ShiftDateTime
from deid_service.transforms.remove_burned_in_annotations import RemoveBurnedInAnnotations
from deid_service.transforms.shift_date_time import share_days
from deid_service.transforms.transcode import read_transcode
from deid_service.transforms.unchecked import read_documents, read_suspected_pixels
from dicom_query import evaluate

__all__ = ["Rules", "default_rules_path", "load_rules", "parse_rules"]

_SECTIONS: Final = ("Labels", "Categories", "ScopeToForward", "Transformations", "Profile", "Table")
_TRANSFORMATIONS: Final = (
    "ShiftDateTime",
    "RandomizeText",
    "RandomizeUID",
    "AddTags",
    "DeleteTags",
    "EncapsulatedDocuments",
    "RemoveBurnedInAnnotations",
    "SuspectedPixels",
    "Transcode",
)
_PLANS: Final = 256


class Rules:
    """A rules file that is in order. Made by :func:`load_rules`.

    Attributes
    ----------
    digest : str
        SHA-256 of the text, in hexadecimal digits.
    labels, categories : dict
        What the file defines.
    scope_to_forward : Scope
        Instances outside are discarded.
    entries : tuple of Entry
        ``Transformations``, in the order of the file.
    table : Table or None
        ``Table``: what the columns of a table of health records are.
    profile : Profile or None
        ``Profile``: what becomes of elements that no transformation speaks of.
    uid_root : str or None
        ``PrefixUID``: root of every new UID, whichever rule makes it.
    """

    def __init__(
        self,
        digest: str,
        labels: dict[str, Label],
        categories: dict[str, Category],
        scope_to_forward: Scope,
        entries: tuple[Entry, ...],
        table: Table | None = None,
        profile: Profile | None = None,
        uid_root: str | None = None,
    ) -> None:
        self.digest = digest
        self.labels = labels
        self.categories = categories
        self.scope_to_forward = scope_to_forward
        self.entries = entries
        self.table = table
        self.profile = profile
        self.uid_root = uid_root
        self._plans: dict[tuple[tuple[int, ...], str, bool], Plan] = {}

    def labels_of(self, dataset: Callable[[], Dataset]) -> tuple[str, ...]:
        """Tell which labels an instance bears.

        Parameters
        ----------
        dataset : callable
            Returns the data set; called only if a label has a query.

        Returns
        -------
        tuple of str
            ``ALL``, then the others in the order of the file.
        """
        read: Dataset | None = None
        found = [ALL]
        for label in self.labels.values():
            if label.query is not None:
                read = read if read is not None else dataset()
                if not evaluate(label.query, read):
                    continue
            found.append(label.name)
        return tuple(found)

    def plan(self, labels: tuple[str, ...], sop_class: str = "", *, refers: bool = False) -> Plan:
        """Return the decisions that hold for instances with these labels.

        Parameters
        ----------
        labels : tuple of str
            From :meth:`labels_of`.
        sop_class : str, optional
            SOP Class UID; like `refers` it matters to a profile only.
        refers : bool, optional
            Whether the instance has the Common Instance Reference Module (PS3.3 C.12.2).

        Returns
        -------
        Plan
            Made once for each set of rules and, with a profile, each kind of object.
        """
        bearing = frozenset(labels)
        active = tuple(index for index, entry in enumerate(self.entries) if bearing in entry.scope)
        kind = sop_class if self.profile is not None and sop_class in known_sop_classes() else ""
        refers = refers and self.profile is not None
        plan = self._plans.get((active, kind, refers))
        if plan is None:
            plan = Plan(
                (self.entries[index] for index in active), self.profile, kind, refers=refers, uid_root=self.uid_root
            )
            if len(self._plans) < _PLANS:
                self._plans[(active, kind, refers)] = plan
        return plan


def default_rules_path() -> Path:
    """Return the path of the rules file that this package brings along."""
    return Path(__file__).with_name("research.yaml")


def load_rules(source: str | os.PathLike[str]) -> Rules:
    """Read a rules file.

    Parameters
    ----------
    source : str or path-like
        Path of the file, or ``s3://bucket/key`` (:mod:`deid_service.rules.s3_file` says whose credentials are used). A
        str that holds a line break or ``": "`` is taken for the text itself.

    Returns
    -------
    Rules

    Raises
    ------
    RulesError
        With every problem of the file. A file with any problem is not used at all.
    """
    if isinstance(source, str) and ("\n" in source or ": " in source):
        return _load(source, "rules")
    try:
        data = _read_s3(source) if isinstance(source, str) and S3Address.is_one(source) else Path(source).read_bytes()
    except OSError as error:
        raise RulesError([Problem(0, 0, f"cannot read the file: {error.strerror}")], str(source)) from None
    except RulesSourceError as error:
        raise RulesError([Problem(0, 0, f"cannot read the file: {error}")], str(source)) from None
    return parse_rules(data, str(source))


def parse_rules(data: bytes, name: str) -> Rules:
    """Read what a rules file holds.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name of the file, for messages.

    Returns
    -------
    Rules

    Raises
    ------
    RulesError
        As by :func:`load_rules`.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RulesError([Problem(0, 0, "the file is not UTF-8 text")], name) from None
    return _load(text, name)


def _read_s3(address: str) -> bytes:
    file = S3File(S3Address.parse(address))
    try:
        return file.read() or b""
    finally:
        file.close()


def _load(text: str, name: str) -> Rules:
    problems = Problems()
    document = problems.read_document(text)
    sections = problems.read_mapping(document, "the rules file", _SECTIONS)
    profile = read_profile(sections["Profile"], problems) if "Profile" in sections else None
    if document is not None:
        needed = ("ScopeToForward",) if "Profile" in sections else ("ScopeToForward", "Transformations")
        problems.require(document, sections, "the rules file", *needed)
    labels = read_labels(sections.get("Labels"), problems)
    categories = read_categories(sections.get("Categories"), labels, problems)
    scope = read_scope(sections.get("ScopeToForward"), "ScopeToForward", labels, categories, problems)
    roots: dict[str, Node] = {}
    entries = tuple(
        _read_entry(node, labels, categories, roots, problems)
        for node in problems.read_list(sections.get("Transformations"), "Transformations")
    )
    table = read_table(sections.get("Table"), problems)
    root = _one_root(roots, problems)
    if problems.found:
        raise RulesError(problems.found, name)
    digest = hashlib.sha256(text.encode()).hexdigest()
    entries = tuple(
        replace(entry, uids=tuple(replace(rule, prefix=root) for rule in entry.uids)) if entry.uids else entry
        for entry in entries
    )
    return Rules(digest, labels, categories, scope, entries, table, profile, root)


def _one_root(roots: dict[str, Node], problems: Problems) -> str | None:
    """Return the root of all new UIDs: with two of them one UID would become two, and references lead nowhere."""
    first = next(iter(roots), None)
    for other, node in roots.items():
        if other != first:
            problems.add(
                node,
                f"PrefixUID is {first} above and {other} here: one UID could become two, and references would break",
                "write the same PrefixUID everywhere, or once: it holds for the whole file",
            )
    return first


def _read_entry(
    node: Node, labels: dict[str, Label], categories: dict[str, Category], roots: dict[str, Node], problems: Problems
) -> Entry:
    keys = problems.read_mapping(node, "an entry of Transformations", ("Scope", *_TRANSFORMATIONS))
    problems.require(node, keys, "this entry of Transformations", "Scope")
    if keys and not any(key in keys for key in _TRANSFORMATIONS):
        problems.add(node, "this entry of Transformations does nothing", f"add any of {', '.join(_TRANSFORMATIONS)}")
    scope = read_scope(keys.get("Scope"), "Scope", labels, categories, problems)

    def rules(key: str) -> list[Node]:
        return list(problems.read_list(keys.get(key), key, single=True))

    shifts = [ShiftDateTime.read(item, problems) for item in rules("ShiftDateTime")]
    adds = [AddTags.read(item, problems) for item in rules("AddTags")]
    burned_in = [RemoveBurnedInAnnotations.read(item, problems) for item in rules("RemoveBurnedInAnnotations")]
    return Entry(
        scope,
        shifts=tuple(share_days([rule for rule in shifts if rule is not None])),
        texts=tuple(RandomizeText.read(item, problems) for item in rules("RandomizeText")),
        uids=tuple(RandomizeUID.read(item, problems, roots) for item in rules("RandomizeUID")),
        adds=tuple(rule for rule in adds if rule is not None),
        deletes=tuple(DeleteTags.read(item, problems) for item in rules("DeleteTags")),
        transcode=read_transcode(keys.get("Transcode"), problems),
        burned_in=tuple(rule for rule in burned_in if rule is not None),
        unchecked=read_suspected_pixels(keys.get("SuspectedPixels"), problems),
        documents=read_documents(keys.get("EncapsulatedDocuments"), problems),
    )
