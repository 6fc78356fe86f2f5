"""The permissions file: which profiles there are, and who has which.

::

    Profiles:
      CT only:
        Description: Computed tomography of all studies
        DICOMQueryFilter: Modality StrEquals CT
      Everything: {Description: All images, AccessReason: the number of your ethics approval}
    Permissions:
      - Groups: [ct-researchers]
        Profiles: CT only
      - Users: [ada]
        Profiles: [Everything]

``AccessReason`` says what somebody with that profile must give as a reason before anything is shown; it is asked for
in these words and kept with each audit line.

A profile with a ``DICOMQueryFilter`` shows the instances that match it; one with ``OrthancPathPatterns`` shows every
instance and opens paths of the Orthanc API; one with neither shows every instance, about which the check warns.
The schema is closed: what is not understood is an error and the file is refused as a whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import yaml

import dicom_query
from rpacs_hub.errors import PermissionsError, Problem
from rpacs_hub.permissions._yaml import Reader, Value, nearest
from rpacs_hub.permissions.paths import PathPattern

__all__ = ["NOBODY", "Grant", "Permissions", "Profile", "parse_permissions"]


@dataclass(frozen=True)
class Profile:
    """What somebody with this profile may see.

    Attributes
    ----------
    name, description
        As in the file.
    filter_text
        The query as it was written; None = every instance.
    filter
        The same, parsed.
    allow, deny
        Paths of the Orthanc API that the profile opens and closes.
    access_reason
        What must be given as a reason for access; empty = nothing need be.
    """

    name: str
    description: str = ""
    filter_text: str | None = None
    filter: dicom_query.Node | None = None
    allow: tuple[PathPattern, ...] = ()
    deny: tuple[PathPattern, ...] = ()
    access_reason: str = ""


@dataclass(frozen=True)
class Grant:
    """One entry of ``Permissions``: these users and members of these groups have these profiles."""

    users: frozenset[str]
    groups: frozenset[str]
    profiles: tuple[str, ...]


@dataclass(frozen=True)
class Permissions:
    """A whole, valid permissions file.

    Attributes
    ----------
    profiles
        By name, in the file's order.
    grants
        Who has which profiles.
    digest
        SHA-256 of the file, hexadecimal; empty for `NOBODY`.
    warnings
        What is allowed but perhaps not meant.
    """

    profiles: dict[str, Profile]
    grants: tuple[Grant, ...]
    digest: str
    warnings: tuple[Problem, ...] = ()


NOBODY = Permissions({}, (), "")
"""What is in force before the first valid file was read: nobody sees anything."""


def parse_permissions(data: bytes | str) -> Permissions:
    """Read the text of a permissions file.

    Raises
    ------
    PermissionsError
        It is not valid; it lists every problem.
    """
    raw = data.encode() if isinstance(data, str) else data
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise PermissionsError([Problem(line, 1, "The file is not UTF-8.", "Save it as UTF-8.")]) from None
    return _File().read(text, hashlib.sha256(raw).hexdigest())


class _File:
    """Reads one file; keeps what was found wrong and what looks odd."""

    def __init__(self) -> None:
        self.reader = Reader()
        self.warnings: list[Problem] = []

    def read(self, text: str, digest: str) -> Permissions:
        root = self.reader.root(text)
        if root is None:
            raise PermissionsError(
                [Problem(1, 1, "The file is empty.", "It needs the sections Profiles and Permissions.")]
            )
        sections = self.reader.fields(root, "The file", ("Profiles", "Permissions"))
        profiles: dict[str, Profile] = {}
        places: dict[str, Value] = {}
        if "Profiles" in sections and not self.reader.is_null(sections["Profiles"][1]):
            for key, node in self.reader.pairs(sections["Profiles"][1], "Profiles"):
                profiles[key.text] = self._profile(key, node)
                places[key.text] = key
        grants: list[Grant] = []
        used: set[str] = set()
        if "Permissions" in sections and not self.reader.is_null(sections["Permissions"][1]):
            for node in self.reader.items(sections["Permissions"][1], "Permissions"):
                grant = self._grant(node, profiles)
                grants.append(grant)
                used.update(grant.profiles)
        self.reader.fail()
        for name in [name for name in profiles if name not in used]:
            self._warn(places[name], f"Nobody has the profile {name!r}.")
        return Permissions(profiles, tuple(grants), digest, tuple(self.warnings))

    def _warn(self, at: Value, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(at.line, at.column, message, hint))

    def _profile(self, key: Value, node: yaml.Node) -> Profile:
        what = f"The profile {key.text!r}"
        if self.reader.is_null(node):
            self._warn(key, f"{what} has no filter: it shows every instance.")
            return Profile(key.text)
        fields = self.reader.fields(
            node, what, ("Description", "DICOMQueryFilter", "OrthancPathPatterns", "AccessReason")
        )
        description = filter_text = None
        query = None
        if "Description" in fields:
            description = self.reader.text(fields["Description"][1], f"{what}'s Description", may_be_empty=True)
        if "DICOMQueryFilter" in fields:
            filter_text = self.reader.text(
                fields["DICOMQueryFilter"][1], f"{what}'s DICOMQueryFilter", may_be_empty=True
            )
            if filter_text is not None and filter_text.text:
                query = self._query(filter_text)
        asked = None
        if "AccessReason" in fields:
            asked = self.reader.text(fields["AccessReason"][1], f"{what}'s AccessReason")
        allow: tuple[PathPattern, ...] = ()
        deny: tuple[PathPattern, ...] = ()
        if "OrthancPathPatterns" in fields:
            place, patterns = fields["OrthancPathPatterns"]
            if "DICOMQueryFilter" in fields:
                self.reader.problem(
                    place,
                    f"{what} has both DICOMQueryFilter and OrthancPathPatterns.",
                    "Orthanc's API cannot be filtered: make two profiles of it.",
                )
            entries = self.reader.fields(patterns, "OrthancPathPatterns", ("Allow", "Deny"))
            allow = self._patterns(entries.get("Allow"), "Allow")
            deny = self._patterns(entries.get("Deny"), "Deny")
        elif filter_text is None or not filter_text.text:
            self._warn(key, f"{what} has no filter: it shows every instance.")
        return Profile(
            key.text,
            description.text if description else "",
            (filter_text.text or None) if filter_text else None,
            query,
            allow,
            deny,
            asked.text if asked else "",
        )

    def _query(self, value: Value) -> dicom_query.Node | None:
        try:
            return dicom_query.parse(value.text)
        except dicom_query.QueryError as error:
            self.reader.problem(
                value, f"DICOMQueryFilter: {error.message} (at character {error.position + 1})", error.hint or ""
            )
            return None

    def _patterns(self, field: tuple[Value, yaml.Node] | None, what: str) -> tuple[PathPattern, ...]:
        patterns = []
        for value in self.reader.texts(field[1], what) if field else ():
            try:
                patterns.append(PathPattern.parse(value.text))
            except ValueError as error:
                self.reader.problem(value, f"{error}.", "A pattern looks like 'GET /instances/*/preview'.")
        return tuple(patterns)

    def _grant(self, node: yaml.Node, profiles: dict[str, Profile]) -> Grant:
        fields = self.reader.fields(node, "An entry of Permissions", ("Users", "Groups", "Profiles"))
        texts = {
            name: self.reader.texts(fields[name][1], name) if name in fields else [] for name in ("Users", "Groups")
        }
        if isinstance(node, yaml.MappingNode) and not ({"Users", "Groups"} & set(fields)):
            self.reader.problem(node, "This entry names neither Users nor Groups.", "Say whom it is for.")
        granted: list[str] = []
        if "Profiles" in fields:
            for value in self.reader.texts(fields["Profiles"][1], "Profiles"):
                if value.text not in profiles:
                    self.reader.problem(value, f"There is no profile {value.text!r}.", nearest(value.text, profiles))
                granted.append(value.text)
        elif isinstance(node, yaml.MappingNode):
            self.reader.problem(node, "This entry has no Profiles.", "Name at least one.")
        names = {name: frozenset(value.text for value in values) for name, values in texts.items()}
        return Grant(names["Users"], names["Groups"], tuple(granted))
