"""LoRAtorio in the WebUI: the panel under the prompt, and the hooks of a generation."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, scripts
from modules.ui_components import InputAccordion

from loratorio_ext.arguments import settings_from_arguments
from loratorio_ext.hosts.find import callbacks_of_this_webui, host_of_this_webui, server_of_this_webui
from loratorio_ext.ui import xyz
from loratorio_ext.ui.accordion import build_panel
from loratorio_ext.ui.inspector.overlay import overlay_with_legend

SERVER = server_of_this_webui()


class LoRAtorio(scripts.Script):
    """Always visible; does nothing unless its box is ticked."""

    def __init__(self) -> None:
        super().__init__()
        self._host = host_of_this_webui(SERVER, overlay_with_legend)

    def title(self) -> str:
        """Name in the API and in other extensions' lists; must not change."""
        return "LoRAtorio"

    def show(self, is_img2img: bool) -> object:
        """In txt2img and img2img, without being chosen."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The controls, in the order of the settings."""
        panel = build_panel(InputAccordion, self.elem_id)
        self.infotext_fields = panel.infotext_fields
        self.paste_field_names = panel.paste_fields
        return panel.controls

    def process(self, p: Any, *args: object) -> None:
        """A generation begins."""
        try:
            settings = xyz.settings_with_axes(p, settings_from_arguments(args))
        except ValueError as error:
            self._host.refuse(p, str(error))
        else:
            self._host.start(p, settings)

    def after_extra_networks_activate(self, p: Any, *args: object, **kwargs: Any) -> None:
        """The WebUI has loaded the networks of the prompt; it has merged nothing yet."""
        self._host.networks_activated(p, kwargs["extra_network_data"])

    def process_batch(self, p: Any, *args: object, **kwargs: Any) -> None:
        """The prompts are encoded next."""
        self._host.before_encoding(p)

    def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
        """A sampler begins."""
        self._host.before_sampling(p, kwargs["x"])

    def post_sample(self, p: Any, ps: Any, *args: object) -> None:
        """The latents are there."""
        self._host.sampled(p)

    def postprocess(self, p: Any, processed: Any, *args: object) -> None:
        """The pictures are there."""
        self._host.finished(p, processed)


def register() -> None:
    """Callbacks belong to this file, so that "Reload UI" removes them with it."""
    callbacks = callbacks_of_this_webui()
    if callbacks is not None:
        script_callbacks.on_cfg_denoiser(callbacks.before_call)
        script_callbacks.on_cfg_denoised(callbacks.after_call)
    # By then the WebUI has read every script, whatever their order.
    script_callbacks.on_before_ui(lambda: xyz.register(xyz.find_plot(scripts.scripts_data)))


register()
