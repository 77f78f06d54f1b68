"""Whether another extension cuts the picture into tiles on the way from the denoiser to the UNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.run import RowStrengths


class Tiles:
    """Notices calls in which the UNet gets several tiles of every row.

    Tiled Diffusion puts all rows of one tile before all rows of the next (tile_methods/multidiffusion.py,
    ``repeat_tensor``), others may do it the other way round, so it is not known whose networks a row of the
    UNet's call needs. Where all rows have the same networks, or there is only one, that does not matter.

    Attributes:
        found: whether there was such a call.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """``warn``: told once, for users."""
        self.found = False
        self._warn = warn

    def watched(self, strengths: Sequence[RowStrengths]) -> AbstractContextManager[None]:
        """While this lasts, the UNet is called for the denoiser's rows, which have these strengths."""

        def look(x: Tensor) -> None:
            if len(x) != len(strengths) and not self.found:
                self.found = True
                self._warn(
                    "another extension has the model predict several tiles of the picture in one call; rows "
                    "with different networks are predicted one after another, which takes longer"
                )

        return webui.unet_calls(look) if is_mixed(strengths) else nullcontext()


def is_mixed(strengths: Sequence[RowStrengths]) -> bool:
    """Whether rows have different networks."""
    return len(set(strengths)) > 1
