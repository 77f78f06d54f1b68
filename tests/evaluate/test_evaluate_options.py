"""Each suite has its own defaults, and refuses the others' options."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from loratorio_ext.cli.console import InputError
from loratorio_lab.evaluate.options import with_defaults
from loratorio_lab.main import main, parser


def given(*more: str) -> Namespace:
    return with_defaults(parser().parse_args(["evaluate", *more]))


def test_the_embedded_suite_s_defaults() -> None:
    found = given()
    assert (list(found.networks), found.pictures, found.steps) == ([1, 2, 3, 4], 128, 20)
    assert (found.cfg, found.batch, found.workers) == (4.0, 8, 1)


@pytest.mark.parametrize(
    ("style", "steps", "cfg", "width", "height"),
    [("anime", 200, 10.0, 512, 512), ("reality", 100, 7.0, 768, 1024)],
)
def test_the_testbed_s_defaults(style: str, steps: int, cfg: float, width: int, height: int) -> None:
    found = given("--suite", "composlora", "--style", style)
    assert list(found.networks) == [2, 3, 4, 5]
    assert (found.pictures, found.batch) == (None, 1)
    assert (found.steps, found.cfg, found.width, found.height) == (steps, cfg, width, height)
    assert (found.strength, found.sampler) == (0.8, "DPM++ 2M")


def test_what_is_given_counts() -> None:
    found = given(
        *["--suite", "composlora", "--steps", "7", "--strength", "0", "--networks", "3", "--width", "64"]
    )
    assert (found.steps, found.strength, found.networks, found.width) == (7, 0.0, [3], 64)
    assert (found.style, found.height) == ("anime", 512)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--clip", "x"], "--clip is no option of the suite embedded; give --suite composlora"),
        (["--strength", "0"], "--strength is no option"),
        (["--suite", "composlora", "--world", "x"], "of the suite composlora; give --suite embedded"),
        (["--keep", "2"], "--keep is no option of the suite embedded; give --suite pool"),
        (["--suite", "pool", "--base", "x"], "--base is no option of the suite pool; give --suite compos"),
    ],
)
def test_an_option_of_another_suite_is_refused(more: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        given(*more)
    out = tmp_path / "e"
    assert main(["evaluate", *more, "--out", str(out)]) == 2
    assert not out.exists()
