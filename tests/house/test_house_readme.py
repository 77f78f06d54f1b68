"""The README says what the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from loratorio_ext.settings import SETTINGS, Setting

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "setting", [one for one in SETTINGS if one.name != "enabled"], ids=lambda one: one.name
)
def test_the_readme_lists_every_setting_as_declared(setting: Setting) -> None:
    allowed = ", ".join(f"`{choice}`" for choice in setting.choices)
    if setting.type is str and not setting.choices:
        allowed = "text"
    elif not setting.choices:
        allowed = f"{setting.minimum:g} to {setting.maximum:g}"
    first = setting.help.split(". ")[0].rstrip(".")
    row = f"| `--{setting.name.replace('_', '-')}` | {setting.default} | {allowed} | {first}. |"
    assert row in README
