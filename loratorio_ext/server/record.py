"""One finished run, as the inspector and the API show it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from PIL import Image

from loratorio_ext.run import Report

# Pictures are kept to be looked at under a map, not to be saved again.
LARGEST_SIDE = 768
# Characters of a text that is kept: many times what people write, and little memory.
LONGEST_TEXT = 20_000
LONGEST_COMMENT = 2_000
MOST_COMMENTS = 50
_CUT = " … "


@dataclass(frozen=True)
class PassRecord:
    """One sampling pass: the first, a hires pass, or one after a refiner came in.

    Attributes:
        batch: number of the batch of the run, from 0.
        hires: whether it is the hires pass.
        report: what the pass did.
    """

    batch: int
    hires: bool
    report: Report


@dataclass(frozen=True)
class PictureRecord:
    """A finished picture.

    Attributes:
        batch: number of its batch in the run, from 0.
        place: its place in that batch, from 0.
        seed: its seed; None where the host does not say.
        png: the picture as a PNG, its longest side at most 768 pixels.
    """

    batch: int
    place: int
    seed: int | None
    png: bytes

    @property
    def image(self) -> Image.Image:
        """The picture, RGB."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


@dataclass(frozen=True)
class FinishedRun:
    """What is known of a run before it is kept; see `Record`."""

    prompt: str
    infotext: str
    pictures: tuple[PictureRecord, ...]
    passes: tuple[PassRecord, ...]
    comments: tuple[str, ...] = ()

    def shortened(self) -> FinishedRun:
        """The same with texts that are no longer than anybody reads; a prompt can be as long as one likes.

        What is too long loses its middle: an infotext has its values at the end.
        """
        return replace(
            self,
            prompt=_shortened(self.prompt, LONGEST_TEXT),
            infotext=_shortened(self.infotext, LONGEST_TEXT),
            comments=tuple(_shortened(one, LONGEST_COMMENT) for one in self.comments[:MOST_COMMENTS]),
        )


@dataclass(frozen=True)
class Record:
    """A run that is kept.

    Attributes:
        number: counts the server's runs, from 1.
        time: when it was kept, in UTC.
        run: what was made.
    """

    number: int
    time: datetime
    run: FinishedRun

    def passes_of(self, picture: PictureRecord) -> tuple[PassRecord, ...]:
        """The passes that drew a picture, in their order."""
        return tuple(one for one in self.run.passes if one.batch == picture.batch)

    def to_dict(self) -> dict[str, object]:
        """The run for JSON; maps and pictures are left out."""
        return {
            "number": self.number,
            "time": self.time.isoformat(timespec="seconds"),
            "prompt": self.run.prompt,
            "infotext": self.run.infotext,
            "comments": list(self.run.comments),
            "pictures": [
                {"batch": one.batch, "place": one.place, "seed": one.seed} for one in self.run.pictures
            ],
            "passes": [
                {"batch": one.batch, "hires": one.hires, "report": one.report.to_dict()}
                for one in self.run.passes
            ],
        }

    @property
    def size(self) -> int:
        """Bytes of memory that the run takes, about: pictures, maps, the numbers of all steps, and texts."""
        texts = (self.run.prompt, self.run.infotext, *self.run.comments)
        return (
            sum(map(sys.getsizeof, texts))
            + sum(sys.getsizeof(one.png) for one in self.run.pictures)
            + sum(one.report.size for one in self.run.passes)
        )


def picture_record(image: Image.Image, batch: int, place: int, seed: int | None) -> PictureRecord:
    """A picture made small enough to be kept."""
    small = image.convert("RGB")
    small.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return PictureRecord(batch, place, seed, buffer.getvalue())


def pictures_in_batches(
    images: Sequence[Image.Image], batch_size: int, seeds: Sequence[int]
) -> tuple[PictureRecord, ...]:
    """Pictures of a run in the order in which hosts list them: batch by batch."""
    return tuple(
        picture_record(image, place // batch_size, place % batch_size, _at(seeds, place))
        for place, image in enumerate(images)
    )


def now() -> datetime:
    """The time of day in UTC."""
    return datetime.now(timezone.utc)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return text[:half] + _CUT + text[-half:]


def _at(seeds: Sequence[int], place: int) -> int | None:
    return int(seeds[place]) if place < len(seeds) else None
