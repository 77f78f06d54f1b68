"""Presets: any content of the file is survived, and what was saved comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from loratorio_ext.server.presets import LONGEST_NAME, MOST_PRESETS, OURS, PRESET_SETTINGS, Presets
from loratorio_ext.settings import Settings

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=9), st.sampled_from([one.name for one in PRESET_SETTINGS])),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
CONTENT = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"a": {"patch_size": 8}, "a": {"patch_size": 4}}'),
)
SHARED_FOLDER = [HealthCheck.function_scoped_fixture]


@settings(max_examples=80, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(content=CONTENT)
def test_any_file_is_survived(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "presets.json"
    file.write_bytes(content)
    presets = Presets(file)
    found = presets.all()
    assert dict(list(found.items())[: len(OURS)]) == dict(OURS)
    for name, values in found.items():
        assert set(values) == {one.name for one in PRESET_SETTINGS}
        assert Settings.from_dict(dict(values)) and name.strip() == name
    assert file.read_bytes() == content  # looking changes nothing
    try:
        kept = json.loads(content)
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict):
        with pytest.raises(ValueError, match="left as it is"):
            presets.save("mine", Settings(patch_size=5))
        assert file.read_bytes() == content
        return
    presets.save("mine", Settings(patch_size=5))
    after = presets.all()
    assert after["mine"]["patch_size"] == 5
    assert {name: after[name] for name in found if name != "mine"} == {
        name: found[name] for name in found if name != "mine"
    }
    # What means nothing here may mean something to a newer version.
    written = json.loads(file.read_bytes())
    assert repr({**written, "mine": 0}) == repr({**kept, "mine": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["presets.json"]


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o664])
def test_saving_keeps_the_file_s_rights(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "presets.json"
    file.write_text("{}")
    file.chmod(mode)
    Presets(file).save("mine", Settings())
    assert file.stat().st_mode & 0o777 == mode
    other = tmp_path / "new" / "presets.json"
    Presets(other).save("mine", Settings())
    assert other.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "presets.json"
    folder.mkdir()
    presets = Presets(folder)
    assert presets.all() == dict(OURS)
    with pytest.raises(OSError):
        presets.save("mine", Settings())
    with pytest.raises(OSError):
        presets.delete("mine")


NAMES = st.text(min_size=1, max_size=LONGEST_NAME + 5)


@settings(max_examples=80, deadline=None, suppress_health_check=SHARED_FOLDER)
@given(name=NAMES)
def test_a_name_is_kept_or_refused(name: str, tmp_path: Path) -> None:
    presets = Presets(tmp_path / "presets.json")
    before = presets.all()
    fitting = (
        name.strip().isprintable() and 0 < len(name.strip()) <= LONGEST_NAME and name.strip() not in OURS
    )
    if not fitting:
        with pytest.raises(ValueError, match="name"):
            presets.save(name, Settings())
        assert presets.all() == before
        return
    presets.save(name, Settings(top_k=3, enabled=True, pool="a, b"))
    assert presets.all()[name.strip()]["top_k"] == 3
    assert not {"enabled", "pool"} & set(presets.all()[name.strip()])
    presets.delete(name.strip())
    assert name.strip() not in presets.all()


def test_the_folder_is_made_when_somebody_saves(tmp_path: Path) -> None:
    file = tmp_path / "new" / "presets.json"
    presets = Presets(file)
    assert presets.all() == dict(OURS) and not file.parent.exists()
    presets.save("mine", Settings())
    assert file.is_file()


def test_without_a_file_nothing_is_saved() -> None:
    presets = Presets(None)
    assert not presets.can_save and presets.all() == dict(OURS)
    with pytest.raises(ValueError, match="cannot be kept here"):
        presets.save("mine", Settings())


def test_ours_are_not_deleted_or_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "presets.json"
    presets = Presets(file)
    for name in OURS:
        with pytest.raises(ValueError, match="built-in"):
            presets.save(name, Settings())
        with pytest.raises(ValueError, match="not one of your own presets"):
            presets.delete(name)
    file.write_text(json.dumps({next(iter(OURS)): {"patch_size": 9}}))
    assert presets.all() == dict(OURS)


def test_the_number_of_presets_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "presets.json"
    file.write_text(json.dumps({f"p{number}": {} for number in range(MOST_PRESETS)}))
    presets = Presets(file)
    with pytest.raises(ValueError, match=f"{MOST_PRESETS} presets"):
        presets.save("one more", Settings())
    presets.save("p7", Settings(patch_size=3))
    assert presets.all()["p7"]["patch_size"] == 3


def test_a_write_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "presets.json"
    presets = Presets(file)
    presets.save("mine", Settings(patch_size=3))
    before = file.read_text()

    def failing(self: Path, target: Any) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="the disk is full"):
        presets.save("mine", Settings(patch_size=4))
    assert file.read_text() == before and [path.name for path in tmp_path.iterdir()] == ["presets.json"]


def test_ours_can_be_used() -> None:
    assert "Balanced" in OURS and dict(OURS["Balanced"]) == {
        one.name: getattr(Settings(), one.name) for one in PRESET_SETTINGS
    }
