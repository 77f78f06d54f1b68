"""Who calls the denoiser, told from the frames of Python: nothing of a pipeline is replaced for it."""

from __future__ import annotations

from types import FrameType
from typing import Any, Final

_LIBRARIES: Final = frozenset({"loratorio_ext", "diffusers", "torch", "accelerate", "contextlib"})


def check_caller(frame: FrameType | None, pipeline: Any, component: str, denoiser: Any) -> None:
    """Raise RuntimeError where not this pipeline calls its denoiser.

    Args:
        frame: from which the search for a caller begins, outwards.
        pipeline: that is composed.
        component: the denoiser's name in pipelines.
        denoiser: that is called.
    """
    kind = type(pipeline).__name__
    if getattr(pipeline, component) is not denoiser:
        raise RuntimeError(
            f"the {component} of this {kind} was replaced or compiled inside compose(), where networks may "
            "be left out in silence; do not compile it, and replace it before compose() begins"
        )
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None
        if owner is pipeline:
            return
        if owner is not None and getattr(owner, component, None) is denoiser:
            other = type(owner).__name__
            raise RuntimeError(
                f"a {other} calls the {component} that it shares with the composed {kind}; compose that one "
                f"instead: with compose(<the {other}>)"
            )
        frame = frame.f_back
    raise RuntimeError(
        f"the {component} is called by something else than the {kind} that is composed; call the pipeline "
        "itself inside compose()"
    )


def caller_level(frame: FrameType | None) -> int:
    """How far outwards the first frame lies that is of no library: `warnings.warn`'s stacklevel there."""
    level = 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    return level
