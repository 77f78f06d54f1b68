"""One finished run: pictures made small, and what JSON says of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from loratorio_ext.server.history import (
    LARGEST_SIDE,
    FinishedRun,
    PassRecord,
    PictureRecord,
    Record,
    picture_record,
    pictures_in_batches,
)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 1600), height=st.integers(1, 1600))
def test_a_picture_is_made_small_in_its_proportions(width: int, height: int) -> None:
    kept = picture_record(Image.new("RGB", (width, height), (10, 20, 30)), 0, 0, 1).image
    longest = max(width, height)
    assert max(kept.size) <= LARGEST_SIDE
    if longest <= LARGEST_SIDE:
        assert kept.size == (width, height)
    else:
        scale = LARGEST_SIDE / longest
        assert abs(kept.width - width * scale) <= 1 and abs(kept.height - height * scale) <= 1
    assert kept.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_pictures_of_any_mode_stay_what_they_were(mode: str) -> None:
    picture = Image.new(mode, (900, 20))
    kept = picture_record(picture, 1, 2, None)
    assert kept.image.mode == "RGB" and kept.image.size[0] == LARGEST_SIDE
    assert picture.size == (900, 20) and picture.mode == mode
    assert (kept.batch, kept.place, kept.seed) == (1, 2, None)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 9), size=st.integers(1, 4), seeds=st.lists(st.integers(0, 2**40), max_size=9))
def test_batch_by_batch(count: int, size: int, seeds: list[int]) -> None:
    kept = pictures_in_batches([Image.new("RGB", (1, 1))] * count, size, seeds)
    assert len(kept) == count
    for number, one in enumerate(kept):
        assert one.batch * size + one.place == number and 0 <= one.place < size
        assert one.seed == (seeds[number] if number < len(seeds) else None)


def test_json_holds_all_but_maps_and_pictures(make_run: Any) -> None:
    run = make_run(prompt='<b>"x"')
    record = Record(3, datetime(2024, 5, 17, 12, 0, 1, 999, tzinfo=timezone.utc), run)
    found = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert found["number"] == 3 and found["time"] == "2024-05-17T12:00:01+00:00"
    assert found["prompt"] == '<b>"x"' and found["infotext"] == "Steps: 1" and found["comments"] == []
    assert found["pictures"] == [{"batch": 0, "place": 0, "seed": 1}]
    (one,) = found["passes"]
    assert (one["batch"], one["hires"], one["report"]["composed"]) == (0, False, ["anna"])


def test_the_passes_of_a_picture(make_run: Any) -> None:
    (report,) = (one.report for one in make_run().passes)
    passes = tuple(PassRecord(batch, hires, report) for batch in (0, 1) for hires in (False, True))
    picture = PictureRecord(1, 0, None, b"")
    record = Record(1, datetime.now(timezone.utc), FinishedRun("", "", (picture,), passes))
    assert record.passes_of(picture) == passes[2:]
