"""The picture of who spoke where with its legend, and the letters in pictures."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from loratorio_ext.plots.colors import NETWORKS, network_color, rgb
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.pictures import badge, ink_on, overlay_with_legend, text_mask

GREY = Image.new("RGB", (512, 384), (120, 120, 120))


def overlaid(
    report: Any, place: int = 0, words: Words | None = None, ground: Image.Image = GREY
) -> Image.Image:
    image = overlay_with_legend(ground, report, place, words or Words())
    assert image is not None
    return image


def count_of(image: Image.Image, color: str) -> int:
    near = np.abs(np.asarray(image.convert("RGB")).astype(int) - rgb(color)).sum(-1) < 12
    return int(near.sum())


def test_the_legend_stands_below_the_picture(make: SimpleNamespace) -> None:
    report = make.report(["left", "right"], [make.step(0, make.halves())])
    image = overlaid(report)
    assert image.width == 512
    assert 384 < image.height < 460
    below = image.crop((0, 384, image.width, image.height))
    assert count_of(below, network_color(0)) > 50
    assert count_of(below, network_color(1)) > 50
    pixels = np.asarray(image).astype(int)
    assert pixels[5, 5, 2] - pixels[5, 5, 0] > 60  # blue at the left
    assert pixels[5, 506, 0] - pixels[5, 506, 2] > 60  # orange at the right


def test_it_is_the_mean_of_the_steps_for_the_right_image(make: SimpleNamespace) -> None:
    maps = np.concatenate([make.halves(), 1 - make.halves()], axis=1)
    report = make.report(["a", "b"], [make.step(0, maps, image_of=(0, 1))])
    first, second = (overlaid(report, place) for place in (0, 1))
    top = (0, 0, 512, 60)
    assert (np.asarray(first.crop(top))[:, ::-1] == np.asarray(second.crop(top))).mean() > 0.95


def test_who_never_spoke_is_not_named(make: SimpleNamespace) -> None:
    maps = np.concatenate([make.halves(), np.zeros((1, 1, 4, 4))])
    report = make.report(["a", "b", "silent"], [make.step(0, maps, chosen=[[True], [True], [False]])])
    image = overlaid(report)
    below = image.crop((0, 384, image.width, image.height))
    assert [count_of(below, network_color(index)) > 50 for index in range(3)] == [True, True, False]


@pytest.mark.parametrize("mode", ["merged", "base"])
def test_without_maps_there_is_none(make: SimpleNamespace, mode: str) -> None:
    assert overlay_with_legend(GREY, make.report(["a"], [make.step(0, mode=mode)]), 0, Words()) is None
    assert overlay_with_legend(GREY, make.report([], []), 0, Words()) is None


@pytest.mark.parametrize("size", [(16, 16), (64, 16), (1024, 640), (40, 2000)])
@pytest.mark.parametrize("names", [["a", "b"], ["n" * 500, "日本 <b>\n"]])
def test_any_size_and_any_names(make: SimpleNamespace, size: tuple[int, int], names: list[str]) -> None:
    report = make.report(names, [make.step(0, make.halves())])
    image = overlaid(report, ground=Image.new("RGBA", size))
    assert image.mode == "RGB"
    assert image.width >= size[0]


def test_a_large_pool_names_the_others_in_the_language(make: SimpleNamespace) -> None:
    report = make.report([str(i) for i in range(20)], [make.step(0, np.full((20, 1, 2, 2), 0.05))])
    words = Words(MappingProxyType({"all others": "x" * 40}))
    german, english = (overlaid(report, words=one) for one in (words, Words()))
    assert german.size != english.size or (np.asarray(german) != np.asarray(english)).any()


@pytest.mark.parametrize("color", NETWORKS)
def test_letters_can_be_read_on_every_color(color: str) -> None:
    def luminance(one: tuple[int, int, int]) -> float:
        return float(np.dot((0.2126, 0.7152, 0.0722), (np.array(one) / 255) ** 2.2))

    light, dark = sorted((luminance(ink_on(color)), luminance(rgb(color))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4
    assert count_of(badge("A", color, 32), color) > 200


@pytest.mark.parametrize("has_fonts", [True, False])
def test_an_old_pillow_writes_too(monkeypatch: pytest.MonkeyPatch, has_fonts: bool) -> None:
    # The font of Pillow 9, under its own name since there is another one.
    bitmap = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)

    def old(*arguments: Any, **named: Any) -> Any:
        if arguments or named:
            raise TypeError("load_default() got an unexpected keyword argument 'size'")
        return bitmap()

    def no_font(*arguments: Any, **named: Any) -> Any:
        raise OSError("cannot open resource")

    monkeypatch.setattr(ImageFont, "load_default", old)
    if not has_fonts:
        monkeypatch.setattr(ImageFont, "truetype", no_font)
    for text in ("A", "日本", "", "long " * 50):
        mask = text_mask(text, 20)
        assert mask.height == 20
        assert (np.asarray(mask).max() > 100) == bool(text)
