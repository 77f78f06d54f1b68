"""What a generation will cost, and what will not work, said before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from loratorio_ext.networks.pool import choose_pool
from loratorio_ext.networks.tags import parse_prompt
from loratorio_ext.run import cost
from loratorio_ext.run.schedule import Schedule
from loratorio_ext.server.words import Words
from loratorio_ext.setting import shown
from loratorio_ext.settings import Settings

LONGEST_PROMPT = 100_000  # characters
# A pool above this size without top k mixes too much to be of use (README, "Dynamic selection").
_SMALL_POOL = 8


@dataclass(frozen=True)
class Plan:
    """How a prompt is going to be drawn, as far as that is known before.

    Attributes:
        steps: evaluations of the model.
        guided: whether there is an unconditional prediction.
        images: pictures in a batch.
        merged_on_top: rows of merged steps come on top of the base's, as in AUTOMATIC1111's WebUI.
    """

    steps: int = 20
    guided: bool = True
    images: int = 1
    merged_on_top: bool = False


@dataclass(frozen=True)
class Estimate:
    """The answer.

    Attributes:
        composed: networks of the prompt and the pool that are composed.
        kept: networks that are kept merged, by ``compose=off``.
        of_pool: how many of ``composed`` the pool brings.
        rows: predictions at each step for each picture of a batch.
        plain_rows: predictions of a plain generation at a step likewise.
        notes: one sentence for everything that will not be as the user may think.
    """

    composed: tuple[str, ...]
    kept: tuple[str, ...]
    of_pool: int
    rows: tuple[int, ...]
    plain_rows: int
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Predictions of the whole generation, in multiples of plain generation."""
        return sum(self.rows) / (self.plain_rows * len(self.rows))

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "ratio": self.ratio}


def estimate(prompt: str, settings: Settings, known: Mapping[str, str], plan: Plan, words: Words) -> Estimate:
    """What this prompt costs with these settings.

    Args:
        prompt: with tags; never raises on any text.
        settings: ``enabled`` counts: when off, networks are merged.
        known: name or alias of every network → its path below the folder, without suffix, with ``/``.
        plan: what is known of the generation.
        words: the language of the notes.
    """
    notes: list[str] = []
    if len(prompt) > LONGEST_PROMPT:
        notes.append(
            words("only the first {limit} characters of the prompt were looked at", limit=LONGEST_PROMPT)
        )
    parsed = parse_prompt(prompt[:LONGEST_PROMPT])
    notes.extend(problem.said(words) for problem in parsed.told)
    there = [tag for tag in parsed.tags if tag.name in known]
    notes += [
        words("{name} is not among the networks, so it takes no part", name=shown(tag.name))
        for tag in parsed.tags
        if tag.name not in known
    ]
    composed = [tag.name for tag in there if tag.compose]
    kept = [tag.name for tag in there if not tag.compose]
    paths_of_tags = {known[tag.name] for tag in there}
    chosen, unknown = choose_pool(settings.pool, known)
    notes += [words("{name} in the pool is no network", name=shown(part)) for part in unknown]
    of_pool = {known[name]: name for name in chosen if known[name] not in paths_of_tags}
    composed += of_pool.values()
    plain = plan.images * (2 if plan.guided else 1)
    rows = _rows(settings, len(composed), plan) if settings.enabled else (plain,) * plan.steps
    if settings.enabled:
        notes += _notes(settings, len(composed), len(of_pool), plan, words)
    return Estimate(
        tuple(composed),
        tuple(kept),
        len(of_pool),
        tuple(row // plan.images for row in rows),
        plain // plan.images,
        tuple(notes),
    )


def _rows(settings: Settings, networks: int, plan: Plan) -> tuple[int, ...]:
    rows = cost(settings, networks, plan.guided, total=plan.steps, images=plan.images)
    if not plan.merged_on_top:
        return rows
    schedule = Schedule(settings, "loratorio", networks)
    plain = plan.images * (2 if plan.guided else 1)
    merged = [schedule.plan(index, plan.steps).mode == "merged" for index in range(plan.steps)]
    return tuple(row + plain * on_top for row, on_top in zip(rows, merged, strict=True))


def _notes(settings: Settings, networks: int, of_pool: int, plan: Plan, words: Words) -> list[str]:
    notes = []
    if networks == 0:
        return [words("there is no network to compose: name one with a tag, or give a pool")]
    schedule = Schedule(settings, "loratorio", networks)
    if all(schedule.plan(index, plan.steps).mode != "composed" for index in range(plan.steps)):
        notes.append(words("no step lies between Start and End, so the networks act merged"))
    if of_pool > _SMALL_POOL and settings.top_k == 0:
        notes.append(
            words("{count} networks of the pool all speak at once; give Networks kept (top k)", count=of_pool)
        )
    if settings.rescan > 1 and not schedule.choosing:
        notes.append(
            words("Rescan does nothing here: it needs top k per image, and more networks than are kept")
        )
    return notes


def cost_line(found: Estimate, words: Words) -> str:
    """The estimate in one sentence."""
    counts = words("{count} networks composed", count=len(found.composed))
    if len(found.composed) == 1:
        counts = words("1 network composed")
    if found.of_pool:
        counts += words(" ({count} of the pool)", count=found.of_pool)
    if found.kept:
        counts += words(", {count} kept merged", count=len(found.kept))
    lowest, highest = min(found.rows), max(found.rows)
    span = f"{lowest}" if lowest == highest else words("{low} to {high}", low=lowest, high=highest)
    return words(
        "{counts}: {span} predictions a step instead of {plain}, about {ratio} ×",
        counts=counts,
        span=span,
        plain=found.plain_rows,
        ratio=f"{found.ratio:.1f}",
    )
