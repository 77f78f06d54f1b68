"""What AUTOMATIC1111's WebUI alone has: samplers on timesteps, ranks cut down, options for a call's rows."""

from __future__ import annotations

from typing import Any

import pytest

KINDS = ("lin", "te", "locon", "cp", "loha", "ia3", "full", "norm", "dora")


@pytest.mark.parametrize(("kind", "timesteps"), [("ia3", False), *((kind, True) for kind in KINDS)])
def test_one_network_alone_is_the_webui_s_own_picture(
    draw: Any, close: Any, as_merged: Any, kind: str, timesteps: bool
) -> None:
    merged, _ = as_merged(f"a cat <lora:{kind}:0.8>", timesteps=timesteps)
    assert not close(draw("a cat", timesteps=timesteps)[0], merged)


@pytest.mark.parametrize("tag", ["lora:lin:1:1:1", "lyco:te:1"])
def test_a_rank_that_is_cut_and_another_name_of_the_tag(
    as_merged: Any, draw: Any, close: Any, tag: str
) -> None:
    merged, _ = as_merged(f"a cat <{tag}>")
    assert not close(draw("a cat")[0], merged)


@pytest.mark.parametrize("option", ["pad_cond_uncond", "pad_cond_uncond_v0", "not batch_cond_uncond"])
def test_rows_and_conditions_are_laid_out_as_the_webui_s(
    webui: Any, as_merged: Any, layout: dict[str, Any], option: str
) -> None:
    setattr(webui.opts, option.split()[-1], "not" not in option)
    as_merged(**layout)


def test_a_tag_named_twice_acts_twice(as_merged: Any) -> None:
    as_merged("a cat <lora:te:0.5> <lora:te:0.5>")
