"""The ways of using a pool that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from loratorio_ext.evaluate.arms import Sampling
from loratorio_ext.run import Method
from loratorio_ext.settings import Settings

NAMED: Final = "named by hand"
"""LoRAtorio with the networks that the prompt needs, as tags: what dynamic selection would like to reach."""


@dataclass(frozen=True)
class PoolArm:
    """One way, with everything that decides its pictures but the task.

    Attributes:
        name: no two arms have the same.
        size: networks in the pool; 0 where tags name them.
        method: what the run does.
        settings: of the composition, with pool and top k.
        sampling: steps and guidance scale.
    """

    name: str
    size: int
    method: Method
    settings: Settings
    sampling: Sampling

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "settings": self.settings.to_dict()}


def pool_arms(
    settings: Settings, sampling: Sampling, sizes: Sequence[int], keeps: Sequence[int], rescans: Sequence[int]
) -> list[PoolArm]:
    """Every way that is compared.

    Args:
        settings: of the composition, without a pool.
        sampling: steps and guidance scale.
        sizes: numbers of networks in the pool.
        keeps: k, networks kept.
        rescans: every how many steps the whole pool is looked at again, for the choice per image.

    Returns:
        First the networks named by hand; then for each size the whole pool merged, and for each k the choice
        per image with every rescan, and per patch.
    """
    arms = [PoolArm(NAMED, 0, "loratorio", replace(settings, pool="", top_k=0), sampling)]
    everything = replace(settings, pool="*")
    for size in sizes:
        arms.append(PoolArm(f"pool {size}: merged", size, "merge", everything, sampling))
        for k in keeps:
            for rescan in rescans:
                name = f"pool {size}: k={k} per image" + (f", rescan {rescan}" if rescan > 1 else "")
                chosen = replace(everything, top_k=k, top_k_scope="image", rescan=rescan)
                arms.append(PoolArm(name, size, "loratorio", chosen, sampling))
            chosen = replace(everything, top_k=k, top_k_scope="patch", rescan=1)
            arms.append(PoolArm(f"pool {size}: k={k} per patch", size, "loratorio", chosen, sampling))
    return arms
