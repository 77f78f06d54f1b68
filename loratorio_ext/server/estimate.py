"""What a generation will cost, and what will not work, known before it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from loratorio_ext.networks.arguments import OwnArguments, Window
from loratorio_ext.networks.files import NO_TRIGGERS, NetworkFolder, TriggersOf
from loratorio_ext.networks.pool import choose_pool, pool_by_words
from loratorio_ext.networks.prompt import WEIGHED, Repeated, Tag, parse_prompt
from loratorio_ext.run import cost
from loratorio_ext.run.schedule import Schedule
from loratorio_ext.server.words import Words
from loratorio_ext.setting import shown
from loratorio_ext.settings import Settings

LONGEST_PROMPT = 100_000  # characters
# A pool above this size without top k mixes too much to be of use (docs/evidence.md, "Dynamic selection").
_SMALL_POOL = 8
# A prompt may name thousands of networks that are not there.
_MOST_NOTES = 10
# Names that are looked for among those there, which takes time where there are thousands.
_MOST_GUESSES = 3
# Where the WebUIs split a prompt (re_AND, modules/prompt_parser.py); tags are out of it by then.
_AND = re.compile(r"\bAND\b")


@dataclass(frozen=True)
class PlannedSampling:
    """How a prompt is going to be drawn, as far as that is known beforehand.

    Attributes:
        steps: evaluations of the model.
        guided: whether there is an unconditional prediction.
        merged_on_top: rows of merged steps come on top of the base's, as in AUTOMATIC1111's WebUI.
        splits_at_and: AND splits a prompt into sub-prompts that are predicted separately, as in the WebUIs.
        repeated: what becomes of a network that is named twice.
        all_or_none: no network of a prompt is loaded where one of them is missing.
        hires_steps: evaluations of a hires pass, which begins with the maps of the first; 0: there is none.
        hires_scale: how much wider and higher its pictures are.
    """

    steps: int = 20
    guided: bool = True
    merged_on_top: bool = False
    splits_at_and: bool = False
    repeated: Repeated = "last"
    all_or_none: bool = False
    hires_steps: int = 0
    hires_scale: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """What a generation will cost.

    Attributes:
        composed: networks of the prompt and the pool that are composed.
        kept: networks that are kept merged, by ``compose=off``.
        of_pool: how many of ``composed`` the pool brings.
        rows: predictions at each step for each picture of a batch, those of a hires pass at the end.
        plain_rows: predictions of a plain generation at each step, for each picture.
        notes: a sentence for each thing that will not be as the user may expect.
        hires_steps: how many of ``rows`` are a hires pass's.
        hires_scale: how much wider and higher its pictures are.
    """

    composed: tuple[str, ...]
    kept: tuple[str, ...]
    of_pool: int
    rows: tuple[int, ...]
    plain_rows: int
    notes: tuple[str, ...]
    hires_steps: int = 0
    hires_scale: float = 1.0

    @property
    def ratio(self) -> float:
        """Predictions of the whole generation by their size, in multiples of plain generation."""
        first = len(self.rows) - self.hires_steps
        sizes = [1.0] * first + [self.hires_scale**2] * self.hires_steps
        whole = sum(rows * size for rows, size in zip(self.rows, sizes, strict=True))
        return whole / (self.plain_rows * sum(sizes))

    def to_dict(self) -> dict[str, object]:
        """For JSON, of a run without a hires pass: the API knows no other."""
        found = {name: value for name, value in asdict(self).items() if not name.startswith("hires_")}
        return {**found, "ratio": self.ratio}


def estimate(
    prompt: str,
    settings: Settings,
    known: Mapping[str, str],
    sampling: PlannedSampling,
    words: Words,
    triggers: TriggersOf = lambda name: NO_TRIGGERS,
    misfit: Callable[[str], str | None] = lambda name: None,
) -> Estimate:
    """What this prompt costs with these settings.

    Args:
        prompt: with tags; never raises on any text.
        settings: ``enabled`` counts: when off, networks are merged.
        known: name or alias of every network → its path below the folder, without suffix, with ``/``. A
            WebUI finds a network by exactly these; the diffusers host by all names that its folder knows.
        sampling: what is known of the generation.
        words: the language of the notes.
        triggers: a network's trigger words, by any of its names.
        misfit: see `Server`.
    """
    notes: list[str] = []
    if len(prompt) > LONGEST_PROMPT:
        notes.append(words("only the first {limit} characters of the prompt were read", limit=LONGEST_PROMPT))
    # Only the diffusers host, whose networks are those of a folder, weighs blocks itself.
    weighs_blocks = isinstance(known, NetworkFolder)
    parsed = parse_prompt(prompt[:LONGEST_PROMPT], sampling.repeated, weighs_blocks=weighs_blocks)
    notes.extend(problem.said(words) for problem in parsed.told)
    if weighs_blocks and WEIGHED.search(parsed.text):
        notes.append(words("weights such as (…:1.3), […] and AND are read as plain text here"))
    tags: Sequence[Tag] = parsed.tags
    find: Callable[[str], str | None] = known.get
    if isinstance(known, NetworkFolder):
        tags, repeated = known.one_per_file(tags)
        find = known.locate
        notes += _first([problem.said(words) for problem in repeated], words)
    paths = {tag: find(tag.name) for tag in tags}
    missing = [tag.name for tag, path in paths.items() if path is None]
    notes += _first(_missing(missing, known, words), words)
    there = [tag for tag, path in paths.items() if path is not None]
    if there and missing and sampling.all_or_none:
        notes.append(words("where one network is missing, this WebUI loads none of the prompt"))
        there = []
    others = {tag: model for tag in there if (model := misfit(tag.name)) is not None}
    said = [
        words(
            "{name} is for {model} and not for the model that is loaded, so it takes no part",
            name=shown(tag.name),
            model=model,
        )
        for tag, model in others.items()
    ]
    notes += _first(said, words)
    there = [tag for tag in there if tag not in others]
    chosen, unknown = choose_pool(settings.pool, known)
    if settings.pool_by == "words":
        chosen = pool_by_words(chosen, parsed.text, settings.top_k, lambda name: triggers(name).meant)
    told = [words("{name} in the pool matches no network", name=shown(part)) for part in unknown]
    notes += _first(told, words)
    of_tags = {paths[tag] for tag in there}
    of_pool = {known[name]: name for name in chosen if known[name] not in of_tags}
    composed = (*(tag.name for tag in there if tag.compose), *of_pool.values())
    of_composed = [*(tag.own for tag in there if tag.compose), *(OwnArguments() for _ in of_pool)]
    kept = tuple(tag.name for tag in there if not tag.compose)
    cond_rows = len(_AND.split(parsed.text)) if sampling.splits_at_and else 1
    plain = cond_rows + sampling.guided
    passes = [(plain,) * steps for steps in (sampling.steps, sampling.hires_steps)]
    if settings.enabled:
        passes = [
            cost(
                settings,
                len(composed),
                sampling.guided,
                total=steps,
                cond_rows=cond_rows,
                base_is_given=sampling.merged_on_top,
                windows=tuple(Window.parse(own.steps, own.fade) for own in of_composed),
                has_areas=any(own.at for own in of_composed),
                first_pass=before,
            )
            for steps, before in ((sampling.steps, 0), (sampling.hires_steps, sampling.steps))
            if steps
        ]
        acts_alone = any(not tag.own.as_merged for tag in there if not tag.compose)
        if composed:
            notes += _notes(settings, len(composed), len(of_pool), sampling, words)
        elif not missing and not others and not acts_alone:
            notes.append(nothing_to_compose(words))
    notes += _notes_of_sides(
        [tag for tag in there if not tag.own.cond or tag.own.uncond], settings, sampling, words
    )
    hires = (sampling.hires_steps, sampling.hires_scale)
    return Estimate(composed, kept, len(of_pool), sum(passes, ()), plain, tuple(notes), *hires)


def nothing_to_compose(words: Words) -> str:
    """The note on a prompt that names no network, without a pool."""
    return words("there is no network to compose: name one with a tag, or give a pool")


def _missing(names: Sequence[str], known: Mapping[str, str], words: Words) -> list[str]:
    """A sentence for each name that no network has, with the one that may be meant."""
    there = {name.casefold(): name for name in known}
    said = []
    for place, name in enumerate(names):
        guesses = there if place < _MOST_GUESSES else ()
        near = get_close_matches(name.casefold(), guesses, 1, 0.6)
        values = {"name": shown(name)}
        if near:
            values["other"] = shown(there[near[0]])
            said.append(words("{name} is not among the networks; did you mean {other}?", **values))
        else:
            said.append(words("{name} is not among the networks, so it takes no part", **values))
    return said


def _first(notes: Sequence[str], words: Words) -> list[str]:
    """Only as many notes of one kind as anybody reads, and how many more there are."""
    more = len(notes) - _MOST_NOTES
    if more <= 1:  # that there is one more takes as much room as itself
        return list(notes)
    return [*notes[:_MOST_NOTES], words("and {count} more of this kind", count=more)]


def _notes(
    settings: Settings, networks: int, of_pool: int, sampling: PlannedSampling, words: Words
) -> list[str]:
    notes = []
    schedule = Schedule(settings, "loratorio", networks)
    modes = {schedule.plan(index, sampling.steps).mode for index in range(sampling.steps)}
    if not modes & {"composed", "placed"}:
        notes.append(words("no step lies between Start and End, so the networks act merged"))
    if of_pool > _SMALL_POOL and settings.top_k == 0:
        notes.append(words("all {count} networks of the pool speak at once; set Keep top k", count=of_pool))
    if settings.looks > 0 and max(settings.rescan, settings.reuse) > 1:
        notes.append(words("Rescan every and Evaluate networks every have no effect here: Looks is not 0"))
    elif settings.rescan > 1 and not schedule.choosing:
        notes.append(
            words(
                "Rescan every has no effect here: it needs top k per image, and more networks than are kept"
            )
        )
    return notes


def _notes_of_sides(
    tags: Sequence[Tag], settings: Settings, sampling: PlannedSampling, words: Words
) -> list[str]:
    """``tags``: of networks that are to act in the unconditional prediction."""
    names = {"names": ", ".join(shown(tag.name) for tag in tags[:_MOST_NOTES])}
    if tags and not settings.enabled:
        return [words("without LoRAtorio, {names} acts on both sides of the guidance", **names)]
    if tags and not sampling.guided:
        return [words("there is no unconditional prediction for {names} to act in", **names)]
    return []


def nothing_composed(obstacle: str, words: Words) -> str:
    """What takes the place of the cost where nothing can be composed."""
    return words("{obstacle}, so the networks will act merged, the usual way", obstacle=obstacle)


def cost_line(found: Estimate, words: Words) -> str:
    """The estimate in one sentence."""
    counts = words("{count} networks composed", count=len(found.composed))
    if len(found.composed) == 1:
        counts = words("1 network composed")
    if found.of_pool:
        counts += words(" ({count} from the pool)", count=found.of_pool)
    if found.kept:
        counts += words(", {count} kept merged", count=len(found.kept))
    lowest, highest = min(found.rows), max(found.rows)
    if lowest == highest:
        span = words("{count} predictions a step", count=lowest)
    elif len(set(found.rows)) == 2:
        span = words(
            "{high} predictions at {few} of {count} steps and {low} at the others,",
            high=highest,
            few=found.rows.count(highest),
            count=len(found.rows),
            low=lowest,
        )
    else:
        span = words("{low} to {high} predictions a step", low=lowest, high=highest)
    values = {"counts": counts, "span": span, "plain": found.plain_rows, "ratio": f"{found.ratio:.1f}"}
    said = words("{counts}: {span} instead of {plain}, about {ratio} ×", **values)
    if lowest == highest == found.plain_rows:
        said = words("{counts}: {span}, about {ratio} ×", **values)
    if found.hires_steps:
        return words("{cost}, with the {count} steps of Hires. fix", cost=said, count=found.hires_steps)
    return said
