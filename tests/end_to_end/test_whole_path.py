"""A scan arrives under somebody's name, is cleaned, found, looked at and exported."""

from __future__ import annotations

import io

import boto3
import pydicom
import pydicom.pixels

from tests.end_to_end.identified import WRITTEN, Identifiers
from tests.fixtures.processes import wait_for


def _objects(stack, prefix: str) -> dict[str, bytes]:
    access = stack.s3
    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint_url,
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        region_name="us-east-1",
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=access.bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {key: client.get_object(Bucket=access.bucket, Key=key)["Body"].read() for key in keys}


def _export(page, stack, destination: str) -> str:
    """Fill in the export form, start it and return the state it ends in."""
    page.click("[data-testid=rpacs-scope-all]")
    page.fill("[data-testid=rpacs-destination]", destination)
    page.select_option("[data-testid=rpacs-format]", "dicom")
    page.select_option("[data-testid=rpacs-endpoint]", stack.s3.endpoint_url)
    page.fill("[data-testid=rpacs-access-key]", stack.s3.access_key)
    page.fill("[data-testid=rpacs-secret-key]", stack.s3.secret_key)
    page.click("[data-testid=rpacs-export]")
    job = page.locator("[data-testid=rpacs-export-job]", has_text=destination)
    ended = {"done", "failed", "cancelled", "interrupted"}
    return wait_for(lambda: (state := job.get_attribute("data-state")) in ended and state, 90, every=0.2)


def test_a_researcher_finds_looks_at_and_exports_what_arrived_under_another_name(stack, studies, research, person):
    clara = person("clara")
    page = clara.open_browser_page()

    # She sees the CT series and nothing else, whatever she asks for.
    page.wait_for_selector("[data-testid=rpacs-row]")
    rows = page.locator("[data-testid=rpacs-row]")
    everything = rows.all_inner_texts()
    assert len(everything) == 1
    assert "CT" in everything[0].split()
    page.fill("[data-testid=rpacs-query]", "Modality StrEquals CT")
    page.click("[data-testid=rpacs-search]")
    page.wait_for_function("document.querySelector('[data-testid=rpacs-total]').textContent.includes('1 series')")
    page.fill("[data-testid=rpacs-query]", "Modality StrEquals MR")
    page.click("[data-testid=rpacs-search]")
    page.wait_for_function("document.querySelector('[data-testid=rpacs-total]').textContent.includes('0 series')")
    page.fill("[data-testid=rpacs-query]", "Modality StrEquals CT")
    page.click("[data-testid=rpacs-search]")
    page.wait_for_function("document.querySelectorAll('[data-testid=rpacs-row]').length === 1")

    # She looks at it: the picture changes from slice to slice.
    rows.first.click()
    image = page.locator("[data-testid=rpacs-image]")
    image.wait_for(state="visible")
    page.wait_for_function("document.querySelector('[data-testid=rpacs-image]').naturalWidth > 0")
    clara.shoot("viewer")
    if len(studies.ct) > 1:
        first = image.get_attribute("src")
        assert page.locator("[data-testid=rpacs-slice]").get_attribute("max") == str(len(studies.ct))
        page.locator("[data-testid=rpacs-slice]").fill("5")
        wait_for(lambda: image.get_attribute("src") != first, 20, "the picture did not follow the slider")
        fifth = image.get_attribute("src")
        page.hover("[data-testid=rpacs-stage]")
        page.mouse.wheel(0, 120)
        wait_for(lambda: image.get_attribute("src") != fifth, 20, "the picture did not follow the wheel")

    # She exports it.
    assert _export(page, stack, "s3://research-exports/whole-path") == "done"
    clara.shoot("exported")
    objects = _objects(stack, "whole-path/")
    there = research.files("CT")
    assert len(objects) == len(studies.ct)
    assert {key.rsplit("/", 1)[1].removesuffix(".dcm"): data for key, data in objects.items()} == there
    for key, data in objects.items():
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        assert key == (
            f"whole-path/{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"
        )

    # Nothing of the patient is in it, nor in any other clean copy.
    everybody = Identifiers.of(studies.all)
    assert len(everybody.needles) > 20
    for originals, copies in (
        (studies.ct, objects),
        (studies.mr, research.files("MR")),
        ([studies.us, studies.us_with_text], research.files("US")),
    ):
        own = Identifiers.of(originals)
        assert len(own.dates) > 1
        for data in copies.values():
            assert everybody.found_in(data) | own.dates_in(data) == set()

    # The page asked nobody but the hub and the sign-in page.
    assert clara.hosts <= {stack.hub_url.split("/")[2], stack.settings.login_url.split("/")[2]}


def test_a_name_in_the_pixels_is_gone_and_what_cannot_be_looked_at_stays_on_the_clinical_side(stack, studies, research):
    arrived = [pydicom.dcmread(io.BytesIO(data)) for data in research.files("US").values()]
    assert len(arrived) == 2
    brightness = [pydicom.pixels.apply_color_lut(one.pixel_array, one)[WRITTEN].max() for one in arrived]
    assert max(brightness) < 2**15  # of 16 bits: letters have nearly all of them
    assert {one.BurnedInAnnotation for one in arrived} == {"NO"}
    assert stack.status().pipeline["quarantined"] == {"pixels_not_decodable": 1}


def test_the_whole_stack_says_that_it_is_healthy(stack, studies):
    def unwell() -> str:
        now = stack.status()
        return "\n".join([f"{part.name}: {part.detail}" for part in now.parts if not part.healthy] + now.problems)

    status = wait_for(lambda: (now := stack.status()).healthy and now, 30, unwell, every=0.5)
    assert {part.name for part in status.parts} >= {"ingest", "research", "deid", "indexer", "jupyterhub", "gateway"}
