import random

from hypothesis import given
from hypothesis import strategies as st

from rpacs import Slice
from rpacs._slices import order_slices

AXIAL = ["1", "0", "0", "0", "1", "0"]


def row(number, z=None, turn=AXIAL, **more):
    where = None if z is None else ["0", "0", str(z)]
    values = {"SOPInstanceUID": f"1.{number}", "InstanceNumber": str(number), "Rows": 4, "Columns": 6}
    return values | {"ImagePositionPatient": where, "ImageOrientationPatient": turn if z is not None else None} | more


def uids(rows):
    return [s.uid for s in order_slices(rows)]


@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=30, unique=True), st.randoms())
def test_by_position_whatever_the_numbers_say(places, chance: random.Random):
    rows = [row(n, z / 10) for n, z in enumerate(places, 1)]
    chance.shuffle(rows)
    ordered = order_slices(rows)
    assert [s.position for s in ordered] == sorted(z / 10 for z in places)
    assert {s.uid for s in ordered} == {r["SOPInstanceUID"] for r in rows}


def test_along_the_normal_of_tilted_planes():
    # Sagittal: rows run along y, columns along -z, so the normal is -x.
    rows = [
        row(n, 0, ["0", "1", "0", "0", "0", "-1"], ImagePositionPatient=[x, 5, 7])
        for n, x in ((1, 30), (2, 10), (3, 20))
    ]
    assert uids(rows) == ["1.1", "1.3", "1.2"]


def test_by_number_where_positions_do_not_help():
    assert uids([row(10), row(9), row(100)]) == ["1.9", "1.10", "1.100"]
    assert uids([row(2, 5), row(1)]) == ["1.1", "1.2"]  # one has no position
    mixed = [row(3, 1), row(1, 2), row(2, 3, ["0", "1", "0", "0", "0", "-1"])]  # a localizer among them
    assert uids(mixed) == ["1.1", "1.2", "1.3"]
    assert uids([row(2, 1, ["1", "0", "0", "1", "0", "0"]), row(1, 2, ["1", "0", "0", "1", "0", "0"])]) == [
        "1.1",
        "1.2",
    ]
    assert uids([row(2, "x"), row(1, "nan")]) == ["1.1", "1.2"]
    assert all(s.position is None for s in order_slices(mixed))


def test_equal_positions_keep_the_numbers_order():
    assert uids([row(4, 1), row(1, 2), row(2, 1), row(3, 2)]) == ["1.2", "1.4", "1.1", "1.3"]


def test_instances_without_a_number_come_last():
    rows = [row(2), row(1) | {"InstanceNumber": None, "SOPInstanceUID": "1.0"}, row(1)]
    assert uids(rows) == ["1.1", "1.2", "1.0"]


def test_frames_and_what_holds_no_pixels():
    rows = [row(1, NumberOfFrames="3", SamplesPerPixel=3), row(2) | {"Rows": None}]
    assert order_slices(rows) == [Slice("1.1", frame, number=1, colour=True, shape=(4, 6)) for frame in (1, 2, 3)]


def test_the_first_window_of_the_file():
    assert order_slices([row(1, WindowCenter=["40", "-600"], WindowWidth="400\\1500")])[0].window == (40, 400)
    assert order_slices([row(1, WindowCenter="40", WindowWidth="0")])[0].window is None
    assert order_slices([row(1, WindowCenter="", WindowWidth=None)])[0].window is None
    assert order_slices([]) == []
