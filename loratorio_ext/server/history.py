"""The last runs of a server, as the inspector and the API show them; bounded in number and in memory."""

from __future__ import annotations

import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Final

from PIL import Image

from loratorio_ext.run import Report

# Pictures are kept to be looked at under a map, not to be saved again.
LARGEST_SIDE: Final = 768
# Characters of a text that is kept: many times what people write, and little memory.
LONGEST_TEXT: Final = 20_000
LONGEST_COMMENT: Final = 2_000
MOST_COMMENTS: Final = 50
_CUT: Final = " … "


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
    """What is known of a run before it is kept.

    Attributes:
        prompt: the first prompt, with its tags.
        infotext: the first picture's infotext.
        pictures: in the order in which the host lists them.
        passes: of all batches, in their order.
        comments: what was said under the pictures.
    """

    prompt: str
    infotext: str
    pictures: tuple[PictureRecord, ...]
    passes: tuple[PassRecord, ...]
    comments: tuple[str, ...] = ()

    def shortened(self) -> FinishedRun:
        """The same with texts no longer than anybody reads; a prompt can be as long as one likes.

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
        run = self.run
        passes = [{**vars(one), "report": one.report.to_dict()} for one in run.passes]
        return {
            "number": self.number,
            "time": self.time.isoformat(timespec="seconds"),
            "prompt": run.prompt,
            "infotext": run.infotext,
            "comments": list(run.comments),
            "pictures": [{"batch": one.batch, "place": one.place, "seed": one.seed} for one in run.pictures],
            "passes": passes,
        }

    @property
    def size(self) -> int:
        """Approximate bytes of memory that the run takes: pictures, maps, the numbers of all steps, texts."""
        texts = (self.run.prompt, self.run.infotext, *self.run.comments)
        pictures = (one.png for one in self.run.pictures)
        return sum(map(sys.getsizeof, (*texts, *pictures))) + sum(one.report.size for one in self.run.passes)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(timezone.utc)


class History:
    """Keeps the newest runs; for several threads at once.

    The newest run is kept whatever its size, unless no run is to be kept at all.
    """

    def __init__(self, limits: Callable[[], tuple[int, int]], clock: Callable[[], datetime] = now) -> None:
        """``limits`` gives (largest number of runs, largest memory in bytes); it is asked at every run."""
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._count = 0

    def keeps_runs(self) -> bool:
        """Whether a run would be kept now; where not, those that were kept are forgotten."""
        number_of_runs, _ = self._limits()
        if number_of_runs < 1:
            with self._lock:
                self._records.clear()
        return number_of_runs > 0

    def add(self, run: FinishedRun) -> Record | None:
        """Keep a run, its texts shortened, and forget what is too much; None where no run is to be kept."""
        number_of_runs, memory = self._limits()
        with self._lock:
            if number_of_runs < 1:
                self._records.clear()
                return None
            self._count += 1
            record = Record(self._count, self._clock(), run.shortened())
            # Reading a report waits for the device and lets its tensors go; sizes are known from then on.
            self._records.append(record)
            total = sum(one.size for one in self._records)
            while len(self._records) > number_of_runs or (total > memory and len(self._records) > 1):
                total -= self._records.popleft().size
            return record

    def records(self) -> tuple[Record, ...]:
        """The runs that are kept, the newest first."""
        with self._lock:
            return tuple(reversed(self._records))

    def record(self, number: int) -> Record | None:
        """One run by its number; None where it is not kept."""
        return next((one for one in self.records() if one.number == number), None)


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
    known = [*map(int, seeds), *([None] * len(images))]
    return tuple(
        picture_record(image, place // batch_size, place % batch_size, seed)
        for place, (image, seed) in enumerate(zip(images, known, strict=False))
    )


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return text[:half] + _CUT + text[-half:]
