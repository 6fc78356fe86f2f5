import os
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_service import KeyFileError, PseudonymKey
from deid_service.pseudonyms import is_registered_uid

KEY = PseudonymKey(bytes(range(32)))
UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


def test_a_key_is_generated_private_and_read_back(tmp_path: Path) -> None:
    made = PseudonymKey.generate(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").stat().st_size == 32
    assert PseudonymKey.from_file(tmp_path / "key").uid("1.2.3") == made.uid("1.2.3")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    PseudonymKey.generate(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        PseudonymKey.generate(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    PseudonymKey.generate(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        PseudonymKey.from_file(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"x" * 31, bytes(range(33)), b"\0" * 32])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        PseudonymKey.from_file(path)


def test_a_missing_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        PseudonymKey.from_file(tmp_path / "nothing")


def test_the_secret_is_not_shown_or_pickled() -> None:
    assert repr(KEY) == "PseudonymKey(<secret>)"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_pseudonyms_are_pinned() -> None:
    """A change of these values would orphan every pseudonym that was ever given."""
    assert KEY.uid("1.2.3") == "2.25.72499697100126562156821831967242290819"
    assert KEY.offset(("patient", "4711", ""), 365) == -155
    assert KEY.digest("text", ("always",), "x").hex()[:16] == "e2d3604fc918e04d"


@given(st.text(max_size=100))
def test_uids_are_valid_whatever_the_original(value: str) -> None:
    for prefix in (None, "1.2.3.", "1." + "2" * 37 + "."):
        uid = KEY.uid(value, prefix)
        assert UID.fullmatch(uid)
        assert len(uid) <= 64
        assert uid == PseudonymKey(bytes(range(32))).uid(value, prefix)
        assert uid != PseudonymKey(os.urandom(32)).uid(value, prefix)


parts = st.lists(st.text(max_size=8), max_size=3).map(tuple)


@given(st.text(max_size=5), parts, st.text(max_size=8), st.text(max_size=5), parts, st.text(max_size=8))
def test_different_inputs_never_share_a_digest(
    kind: str, scope: tuple[str, ...], value: str, kind2: str, scope2: tuple[str, ...], value2: str
) -> None:
    same = (kind, scope, value) == (kind2, scope2, value2)
    assert (KEY.digest(kind, scope, value) == KEY.digest(kind2, scope2, value2)) is same


def test_parts_do_not_run_into_each_other() -> None:
    assert KEY.digest("a", ("b", "c"), "d") != KEY.digest("a", ("bc",), "d")
    assert KEY.digest("a", ("b",), "cd") != KEY.digest("a", ("b", "c"), "d")


@given(st.integers(1, 10_000), st.text(max_size=10))
def test_offsets_lie_within_the_limit_and_are_never_zero(limit: int, patient: str) -> None:
    offset = KEY.offset(("patient", patient, ""), limit)
    assert offset != 0
    assert -limit <= offset <= limit


def test_offsets_reach_every_number() -> None:
    assert {KEY.offset(("patient", str(n), ""), 3) for n in range(200)} == {-3, -2, -1, 1, 2, 3}


@pytest.mark.parametrize(
    ("uid", "registered"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("1.2.840.10008.1.2.4.90", True),
        ("1.2.840.10008.1.4.1.1", True),
        ("1.2.840.10008", True),
        ("1.2.840.100081.5", False),
        ("1.2.840.113619.2.1", False),
        ("2.25.1", False),
        ("", False),
    ],
)
def test_registered_uids(uid: str, registered: bool) -> None:
    assert is_registered_uid(uid) is registered
