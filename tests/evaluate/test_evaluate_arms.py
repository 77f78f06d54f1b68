"""Arms are what their names say, and a sweep changes one thing in those that have it."""

from __future__ import annotations

import pytest

from loratorio_ext.settings import Settings
from loratorio_lab.evaluate.arms import ARM_NAMES, Sampling, arm, swept, values_of

SAMPLING = Sampling(20, 4.0)


def test_arms_are_what_they_say() -> None:
    settings = Settings(enabled=True, patch_size=4, temperature=0.3, recenter=0.7, gain=0.4, reuse=2, looks=3)
    arms = {name: arm(name, settings, 3, SAMPLING) for name in ARM_NAMES}
    assert [arms[name].method for name in ARM_NAMES[:5]] == list(ARM_NAMES[:5])
    assert arms["merge-recentred"].method == "merge-recentred"
    assert arms["loratorio"].settings == settings
    changed = {
        name: {
            key: value for key, value in one.settings.to_dict().items() if value != settings.to_dict()[key]
        }
        for name, one in arms.items()
    }
    as_published = {"weighting": "difference", "recenter": 0.5, "gain": 0.0, "reuse": 1, "score": "step"}
    as_published |= {"looks": 0}
    assert {name: change for name, change in changed.items() if change} == {
        "loratorio-paper": {**as_published, "temperature": 0.02},
        "loratorio-fast": {"looks": 1},
        "loratorio-every-step": {"looks": 0},
        "loratorio-uniform": {"weighting": "difference", "temperature": 1000.0},
        "loratorio-not-recentred": {"recenter": 0.0},
        "loratorio-without-gain": {"gain": 0.0},
        "merge-recentred": {"recenter": 0.5},
        "composite-recentred": {**as_published, "temperature": 1000.0},
    }
    assert {one.method for name, one in arms.items() if name in changed and "-" in name} == {
        "loratorio",
        "merge-recentred",
    }
    with pytest.raises(ValueError, match="no arm 'mean'; give one of: base"):
        arm("mean", settings, 5, SAMPLING)


def test_a_sweep_changes_one_thing_in_the_arms_that_have_it() -> None:
    arms = [arm(name, Settings(), 5, SAMPLING) for name in ("merge", "switch", "loratorio")]
    of_setting = swept(arms, "temperature", values_of("temperature", "0.5, 2"))
    assert [(one.name, one.settings.temperature) for one in of_setting] == [
        ("loratorio temperature=0.5", 0.5),
        ("loratorio temperature=2.0", 2.0),
    ]
    of_switch = swept(arms, "switch_every", values_of("switch_every", "1,2"))
    assert [(one.name, one.switch_every) for one in of_switch] == [
        ("switch switch_every=1", 1),
        ("switch switch_every=2", 2),
    ]
    of_cfg = swept(arms, "cfg", values_of("cfg", "6"))
    assert [(one.name, one.sampling) for one in of_cfg] == [
        (f"{name} cfg=6.0", Sampling(20, 6.0)) for name in ("merge", "switch", "loratorio")
    ]
    assert swept(arms, "steps", values_of("steps", "9"))[0].sampling == Sampling(9, 4.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "0", "temperature is 0.0"),
        ("temperature", "1,", "temperature is ''"),
        ("cfg", "0.5", "cfg is '0.5'; give numbers from 1 to 1000"),
        ("cfg", "nan", "cfg is 'nan'"),
        ("steps", "2.5", "steps is '2.5'"),
        ("switch_every", "0", "switch_every is '0'"),
        ("enabled", "true", "'enabled' cannot be swept; give one of: cfg"),
        ("pool", "a", "'pool' cannot be swept"),
        ("heat", "1", "'heat' cannot be swept"),
    ],
)
def test_wrong_sweeps_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values_of(name, text)


def test_a_sweep_that_changes_nothing_is_refused() -> None:
    arms = [arm("merge", Settings(), 5, SAMPLING)]
    with pytest.raises(ValueError, match="temperature makes no difference to merge"):
        swept(arms, "temperature", (1.0,))
