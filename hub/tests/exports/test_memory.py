"""The limit on the bytes that all exports hold together."""

import asyncio

import pytest

from hub.tests.exports.support import ended
from rpacs_hub.exports import InstanceRef
from rpacs_hub.exports._memory import MemoryBudget

pytestmark = pytest.mark.anyio


async def settled(*tasks):
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_who_asks_first_gets_first():
    budget = MemoryBudget(100)
    await budget.take(60)
    large, small = asyncio.create_task(budget.take(50)), asyncio.create_task(budget.take(10))
    assert await settled(large, small) == [False, False]
    budget.give(60)
    assert await settled(large, small) == [True, True]
    assert budget.used == 60


async def test_more_than_there_is_goes_alone():
    budget = MemoryBudget(100)
    await budget.take(10)
    huge = asyncio.create_task(budget.take(1000))
    assert await settled(huge) == [False]
    budget.give(10)
    assert await settled(huge) == [True]
    other = asyncio.create_task(budget.take(1))
    assert await settled(other) == [False]
    budget.swap(1000, 20)
    assert await settled(other) == [True]
    assert budget.used == 21


async def test_who_is_cancelled_holds_nothing_and_lets_others_pass():
    budget = MemoryBudget(100)
    await budget.take(90)
    first, second = asyncio.create_task(budget.take(50)), asyncio.create_task(budget.take(10))
    await settled(first, second)
    first.cancel()
    assert await settled(first, second) == [True, True]
    assert budget.used == 100
    # Cancelled at the very moment of being served.
    third = asyncio.create_task(budget.take(40))
    await settled(third)
    budget.give(90)
    third.cancel()
    await settled(third)
    assert budget.used == 10


async def test_an_export_stays_below_the_limit(running, archive, request_for):
    size, limit = 100_000, 350_000
    instances = [
        InstanceRef(i.orthanc_id, i.patient_id, i.study_uid, i.series_uid, i.sop_uid, size=size)
        for i in archive.add(30, size=size)
    ]
    most = 0
    async with running(memory=limit) as exporter:
        fetch = exporter._fetch

        async def watching(orthanc_id):
            nonlocal most
            most = max(most, exporter._budget.used)
            return await fetch(orthanc_id)

        exporter._fetch = watching
        export = await ended(exporter, await exporter.submit("clara", instances, request_for()))
        assert exporter._budget.used == 0
    assert export.done == 30
    assert size < most <= limit
