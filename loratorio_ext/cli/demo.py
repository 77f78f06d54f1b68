"""The demonstration: one prompt with three networks, drawn by every method, judged, mapped and counted."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Final

from loratorio_ext.cli.console import OK, Console, Interrupted, Work
from loratorio_ext.cli.demo_page import page
from loratorio_ext.cli.demo_results import Demo, Method, Outcome, Wanted, table
from loratorio_ext.cli.option_types import settings_from
from loratorio_ext.cli.tools import Tools
from loratorio_ext.cli.writing import prepare_folder, write_text
from loratorio_ext.plots.pictures import contact_sheet, overlay, scale_of, strip, territories

# A shape, what lies behind it, and an object beside it: three places of the picture, three networks.
WANTED: Final = (
    Wanted("star", "shape", "star"),
    Wanted("grid", "background", "grid"),
    Wanted("moon", "object", "moon"),
)
TEXT: Final = "a blue plain star on grid with moon"
METHODS: Final = (
    Method("base", "Base", "the model without any network"),
    Method("merge", "Merge", "all networks added to the weights at once, the usual way"),
    Method("switch", "Switch", "one network at a time, the next one every few steps"),
    Method("every-step", "Every step", "LoRAtorio with every network alone at every step, as in the paper"),
    Method("loratorio", "LoRAtorio", "at each place, the network that has something to say there"),
)
HARD_MASKS: Final = Method("hard-masks", "Hard masks", "where its own word draws early on, as in FreeFuse")
SWITCH_EVERY: Final = 5
TILE: Final = 192


def run(arguments: Namespace, tools: Tools, console: Console, work: Work) -> int:
    """`loratorio demo`: writes index.html, pictures and results.json into --out, prints the table."""
    settings = settings_from(arguments)
    data = tools.find_demo_data()
    out = prepare_folder(arguments.out)
    host = tools.open_host(data.model, None, None, offline=True)
    judge = tools.load_judge(data.judge)
    from loratorio_ext.hosts.diffusers_host import Request

    seeds = tuple(range(arguments.seed, arguments.seed + arguments.pictures))
    prompt = " ".join([TEXT, *(f"<lora:{one.network}:1>" for one in WANTED)])

    def request(method: str, steps: int) -> Request:
        every_step, ours = method == "every-step", method in ("every-step", "hard-masks")
        return Request(
            prompts=[prompt],
            steps=steps,
            cfg=arguments.cfg,
            seeds=seeds,
            settings=replace(settings, looks=0) if every_step else settings,
            method="loratorio" if ours else method,  # type: ignore[arg-type]  # METHODS holds the names
            switch_every=SWITCH_EVERY,
            network_dir=data.networks,
        )

    # The first call of a fresh process pays for torch's preparations; that must not count against a method.
    host.generate(request("base", 1))
    outcomes: list[Outcome] = []
    try:
        for method in [*METHODS[:3], *([HARD_MASKS] if tools.hard_masks else []), *METHODS[3:]]:
            asked = request(method.name, arguments.steps)
            if tools.hard_masks and method is HARD_MASKS:
                asked = tools.hard_masks(host, asked, [one.value for one in WANTED])
            with console.progress(f"{method.label:<10}") as on_step:
                result = host.generate(asked, work.watch(on_step))
            for warning in result.report.warnings:
                console.warn(f"{method.label}: {warning}")
            scores = tuple(judge.scores(result.images))
            outcomes.append(Outcome(method, tuple(result.images), scores, result.report))
            for seed, image in zip(seeds, result.images, strict=True):
                image.save(out / f"{method.name}-{seed}.png")
    except KeyboardInterrupt:
        kept = ", ".join(outcome.method.label for outcome in outcomes)
        raise Interrupted(f"kept in {out}: " + (f"the pictures of {kept}" if kept else "nothing")) from None

    demo = Demo(prompt, TEXT, WANTED, seeds, arguments.steps, arguments.cfg, settings, tuple(outcomes))
    _save_maps(out, demo)
    write_text(out / "results.json", json.dumps(demo.to_dict(), indent=2, ensure_ascii=False) + "\n")
    write_text(out / "index.html", page(demo))
    console.result(table(demo))
    console.result(f"\n{out / 'index.html'}")
    return OK


def _save_maps(out: Path, demo: Demo) -> None:
    """The sheet of all pictures; for each seed who speaks where; for each network its maps."""
    rows = [(outcome.method.label, outcome.images) for outcome in demo.outcomes]
    contact_sheet(rows, [f"seed {seed}" for seed in demo.seeds], TILE).save(out / "pictures.png")
    steps, maps = demo.maps()
    if not steps:
        return
    mean = maps.mean(axis=0)
    scale, mean_scale = scale_of([maps]), scale_of([mean])
    for place, (seed, image) in enumerate(zip(demo.seeds, demo.composed.images, strict=True)):
        territories(image, mean[:, place], (TILE, TILE)).save(out / f"who-speaks-{seed}.png")
        for index, name in enumerate(demo.composed.report.composed):
            overlay(image, mean[index, place], mean_scale, (TILE, TILE)).save(
                out / f"weights-{name}-{seed}.png"
            )
            strip(maps[:, index, place], scale, 64).save(out / f"steps-{name}-{seed}.png")
