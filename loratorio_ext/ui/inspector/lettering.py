"""Text and badges inside pictures, also with the Pillow 9 of AUTOMATIC1111's WebUI."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from loratorio_ext.plots.colours import rgb
from loratorio_ext.plots.pictures import INK, PAPER

# What Linux, Windows and macOS usually have.
_COMMON_FONTS: Final = ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")
Colour = tuple[int, int, int]


def ink_on(colour: str) -> Colour:
    """Black or white, whichever has more contrast on a colour "#rrggbb" (WCAG 2.2's contrast ratio)."""
    behind = _luminance(rgb(colour))

    def contrast(ink: Colour) -> float:
        lighter, darker = sorted((behind, _luminance(ink)), reverse=True)
        return (lighter + 0.05) / (darker + 0.05)

    return max((INK, PAPER), key=contrast)


def text_mask(text: str, height: int) -> Image.Image:
    """The text as a mask ("L", white on black), its lines `height` pixels high."""
    font, shown = _font(round(height * 0.8)), text
    if not isinstance(font, ImageFont.FreeTypeFont):
        shown = text.encode("latin-1", "replace").decode("latin-1")
    left, _, right, _ = font.getbbox(shown or " ")
    _, top, _, bottom = font.getbbox("Ag|")
    mask = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(mask).text((-left, -top), shown, 255, font)
    width = max(1, round(mask.width * height / mask.height))
    return mask.resize((width, height), Image.Resampling.LANCZOS)


def _luminance(colour: Colour) -> float:
    linear = [float((part / 255) ** 2.2) for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size=size)
    except TypeError:  # before Pillow 10.1 its own font has one small size and Latin letters alone
        for name in _COMMON_FONTS:
            with suppress(OSError):  # this system has another one
                return ImageFont.truetype(name, size)
        return ImageFont.load_default()


def badge(letter: str, colour: str, side: int) -> Image.Image:
    """A letter on a disc of the colour with a white rim, RGBA, `side` × `side`."""
    large = 4 * side  # drawn large and made small: smooth edges
    disc = Image.new("RGBA", (large, large), (*PAPER, 0))
    draw = ImageDraw.Draw(disc)
    draw.ellipse((0, 0, large - 1, large - 1), (*PAPER, 255))
    rim = large // 12
    draw.ellipse((rim, rim, large - 1 - rim, large - 1 - rim), (*rgb(colour), 255))
    mask = text_mask(letter, round(large * 0.62))
    box = mask.getbbox() or (0, 0, mask.width, mask.height)
    mask = mask.crop(box)
    place = ((large - mask.width) // 2, (large - mask.height) // 2)
    disc.paste((*ink_on(colour), 255), place, mask)
    return disc.resize((side, side), Image.Resampling.LANCZOS)
