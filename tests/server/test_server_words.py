"""Words of a language: a file that was edited by hand breaks no page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loratorio_ext.server.words import ENGLISH, Words, language_files, placeholders, words_in

TEXT = "{count} networks of {name}"


def test_english_needs_no_file(tmp_path: Path) -> None:
    for language in (ENGLISH, "", "../words", "no such language"):
        assert words_in(language, tmp_path)(TEXT, count=2, name="a pool") == "2 networks of a pool"


def test_a_language_file_beside_the_package_and_inside_it(tmp_path: Path) -> None:
    package = tmp_path / "loratorio_ext"
    for folder, text in ((package, "inside"), (tmp_path, "beside")):
        (folder / "localizations").mkdir(parents=True)
        (folder / "localizations" / "xx.json").write_text(json.dumps({"off": text}), encoding="utf-8")
    # Beside an installed package the folder may be somebody else's.
    assert words_in("xx", package)("off") == "inside"
    (package / "localizations" / "xx.json").unlink()
    (package / "localizations").rmdir()
    assert words_in("xx", package)("off") == "beside"
    assert list(language_files(package)) == ["xx"]


@pytest.mark.parametrize(
    "translated",
    ["{count} Netze", "{count} Netze {name} {other}", "{count} Netze {name", "{0} {name}", "}{", ""],
)
def test_a_translation_that_lost_its_places_is_not_used(translated: str) -> None:
    words = Words({TEXT: translated})
    assert words(TEXT, count=2, name="x") == "2 networks of x"


def test_places_may_change_their_order() -> None:
    words = Words({TEXT: "{name}: {count} Netze, {count}"})
    assert words(TEXT, count=2, name="{x}") == "{x}: 2 Netze, 2"


@given(translated=st.text(max_size=30))
def test_any_translation_gives_a_text(translated: str) -> None:
    words = Words({TEXT: translated, "off": translated})
    shown = words(TEXT, count=2, name="x")
    assert shown == "2 networks of x" or placeholders(translated) == {"count", "name"}
    assert words("off") in ("off", translated)


@given(text=st.text(max_size=30))
def test_places_of_any_text(text: str) -> None:
    assert isinstance(placeholders(text), frozenset)
