"""The questions that LoRAtorio asks of a WebUI, and what else an adapter consists of.

- `Adapter`, answered by a subclass of ``webuis/generation.Generation``;
- ``webuis/webui.WebuiServices``, with four parts to answer: what does not belong to one generation;
- ``run.Evaluation``, made of a model call that the adapter hears of by the WebUI's callbacks. It is handed to
  ``Generation.step``, and the outcome goes back to the WebUI;
- a class with the parts of `ComposedNetwork`;
- in the package's ``__init__``: ``make_webui()`` and ``missing_parts()``, which ``hosts/find.py`` calls.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from PIL import Image
from torch import Tensor

from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.networks.router import FittedLayers

ExtraNetworkData = Mapping[str, Iterable[Any]]
"""Kind → ``ExtraNetworkParams`` of its tags, with ``positional`` and ``named`` (extra_networks.py)."""


class NotComposableError(ValueError):
    """What an adapter expects of some models and pictures: it is said, and no traceback is logged."""


class ComposedNetwork(Protocol):
    """A network that takes part; each adapter has its own class, whose objects are compared by identity."""

    @property
    def name(self) -> str:
        """As the prompt names it."""

    @property
    def unet(self) -> float:
        """Strength of its UNet part."""

    @property
    def in_prompt(self) -> bool:
        """Whether the prompt names it; otherwise it comes from the pool."""

    @property
    def changes_text(self) -> bool:
        """Whether it changes the text encoding."""


@dataclass(frozen=True)
class LoadedNetwork:
    """What the WebUI has loaded for the prompt: the name in the tag, and the file."""

    name: str
    file: str


@dataclass(frozen=True)
class UnetLayers:
    """The UNet layers that one network changes.

    Attributes:
        deltas: layer name → what the network adds there at strength 1, checked against the layer.
        unmatched: one sentence for each layer that has to be left out.
    """

    deltas: FittedLayers
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """One finished picture.

    Attributes:
        image: as the WebUI shows it.
        batch: number of its batch, from 0.
        place: its index in that batch, from 0.
        seed: its seed.
        prompt: as the user wrote it, tags and all.
        infotext: what the WebUI says about it.
    """

    image: Image.Image
    batch: int
    place: int
    seed: int
    prompt: str
    infotext: str


@dataclass(frozen=True)
class Api:
    """The API that the WebUI serves."""

    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    """User → password of those who may use it; None: everyone."""


Network = TypeVar("Network", bound=ComposedNetwork)


class Adapter(Protocol[Network]):
    """One WebUI, during one generation.

    Whatever raises here ends composing, not the picture: the WebUI goes on with all networks merged.

    Attributes:
        binds_before_sampling: networks are bound to the model when a sampler begins
            (``process_before_every_sampling``); otherwise at its first model call.
        answers_further_calls: other extensions' calls around a step get composed or merged predictions, so
            conditions of all networks merged are always needed.
    """

    binds_before_sampling: bool
    answers_further_calls: bool

    # ------------------------------------------------ which networks did the prompt load

    @abstractmethod
    def obstacle(self, p: Any) -> str | None:
        """Why nothing can be composed in this generation, or None; asked before anything is taken out."""

    @abstractmethod
    def networks_of_prompt(self, data: ExtraNetworkData, kept: Collection[str]) -> Sequence[Network]:
        """The loaded networks except those with a ``kept`` name, which the WebUI merges as ever.

        One that is loaded twice comes once.
        """

    # ------------------------------------------------ take these out, put them back

    @abstractmethod
    def take_out(self, networks: Sequence[Network]) -> Sequence[Network]:
        """From here on neither UNet nor text encoders carry these networks.

        Called each time before prompts are encoded and before a sampler begins, since other extensions may
        load networks in between. Returns the networks as the WebUI has them now.
        """

    @abstractmethod
    def put_back(self, networks: Sequence[Network], left_out: Sequence[Network]) -> None:
        """UNet and text encoders carry those of the prompt again, as if they had not been taken out.

        They go on without ``left_out``.
        """

    # ------------------------------------------------ encode as these networks see it

    @abstractmethod
    def text_encoders(
        self, networks: Sequence[Network], acting: Sequence[Network]
    ) -> AbstractContextManager[None]:
        """While this lasts, text encoders carry the kept networks and, of ``networks``, only ``acting``."""

    @abstractmethod
    def text_key(self, networks: Sequence[Network], acting: Sequence[Network]) -> Hashable | None:
        """Equal only where a prompt is encoded the same; None where the user wants no conditions cached."""

    @abstractmethod
    def texts_at(self, conditions: Conditions, step: int) -> tuple[Any, Any]:
        """What ``CFGDenoiserParams`` holds as text_cond and text_uncond at a model call."""

    # ------------------------------------------------ what do networks add to the model

    @abstractmethod
    def layers_of(self, network: Network) -> UnetLayers:
        """What a network adds to the layers of the loaded UNet, without its text encoder part."""

    @abstractmethod
    def rows_of_call(self, p: Any) -> int:
        """How many rows the WebUI lets share a model call; 0: as many as fit."""

    # ------------------------------------------------ the sampler

    @abstractmethod
    def put_in_place(self, rows: int, x: Tensor) -> None:
        """The networks are bound: install whatever makes the sampler's model calls reach the adapter.

        Args:
            rows: of the largest model call to come, for asking for memory.
            x: noisy latents [B, C, H, W].
        """

    @abstractmethod
    def is_in_place(self) -> bool:
        """Whether it still is; a refiner or another extension may have changed the model."""

    @abstractmethod
    def load(self, x: Tensor) -> None:
        """Load the model that is in place now, while the sampler is running."""
