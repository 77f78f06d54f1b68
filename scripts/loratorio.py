"""LoRAtorio in the WebUI: the panel under the prompt, the inspector, and the hooks of a generation."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import script_callbacks, scripts, shared
from modules.ui_components import InputAccordion

from loratorio_ext.api import add_routes, refuse_wrong_arguments
from loratorio_ext.hosts.find import this_webui
from loratorio_ext.hosts.webuis.hooks import generation_of
from loratorio_ext.hosts.webuis.host import DenoiserCallbacks, Webui
from loratorio_ext.settings import settings_from_arguments
from loratorio_ext.ui import xyz
from loratorio_ext.ui.gradio_tools import add_options
from loratorio_ext.ui.inspector.pictures import overlay_with_legend
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.panel.build import build_panel
from loratorio_ext.ui.panel.cost import TabInputs


def script_of(webui: Webui) -> type[scripts.Script]:
    """The script's class; the WebUI makes an instance for each tab, and all share the server."""

    class LoRAtorio(scripts.Script):
        """Always shown; does nothing unless its box is ticked."""

        server = webui.server

        def __init__(self) -> None:
            super().__init__()
            self._host = webui.host(overlay_with_legend)
            self._inputs = TabInputs()

        def title(self) -> str:
            """Name in the API and in other extensions' lists; must not change."""
            return "LoRAtorio"

        def show(self, is_img2img: bool) -> object:
            """Shown in txt2img and img2img without being selected."""
            return scripts.AlwaysVisible

        def after_component(self, component: Any, **kwargs: Any) -> None:
            """The WebUI has created a component of the tab."""
            self._inputs.notice(component, kwargs.get("elem_id"), self.is_img2img)

        def ui(self, is_img2img: bool) -> list[Any]:
            """The controls, in the order of the settings."""
            panel = build_panel(InputAccordion, self.elem_id, self.server, self._inputs.take())
            self.infotext_fields = [*panel.infotext_fields, panel.not_pasted]
            # What "Send to" carries along.
            self.paste_field_names = [field for _, field in panel.infotext_fields]
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
            generation_of(p).networks_activated(p, kwargs["extra_network_data"])

        def process_batch(self, p: Any, *args: object, **kwargs: Any) -> None:
            """The prompts are encoded next."""
            generation_of(p).before_encoding(p)

        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            """A sampler begins."""
            generation_of(p).before_sampling(p, kwargs["x"])

        def post_sample(self, p: Any, ps: Any, *args: object) -> None:
            """The latents are finished."""
            generation_of(p).sampled(p)

        def postprocess(self, p: Any, processed: Any, *args: object) -> None:
            """The pictures are finished."""
            self._host.finished(p, processed)

    return LoRAtorio


def register(webui: Webui) -> None:
    """Callbacks belong to this file, so that "Reload UI" removes them with it."""
    server, callbacks = webui.server, DenoiserCallbacks()
    if webui.services is not None:
        script_callbacks.on_cfg_denoiser(callbacks.before_call)
        script_callbacks.on_cfg_denoised(callbacks.after_call)
    # By then the WebUI has read every script, in whatever order.
    script_callbacks.on_before_ui(lambda: xyz.register(xyz.find_plot(scripts.scripts_data)))
    script_callbacks.on_ui_settings(lambda: add_options(shared.opts, shared.OptionInfo))
    script_callbacks.on_ui_tabs(lambda: [inspector(server)])
    script_callbacks.on_app_started(lambda demo, app: add_api(app, webui))


def inspector(server: Any) -> tuple[Any, str, str]:
    """The tab: (its blocks, title, id)."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        build_inspector(server)
    return blocks, "LoRAtorio", "loratorio"


def add_api(app: Any, webui: Webui) -> None:
    """Add our routes, behind the WebUI's own password, where the WebUI's API is on."""
    api = webui.services.api() if webui.services is not None else None
    if api is not None:
        add_routes(app, webui.server, credentials=api.credentials)
        refuse_wrong_arguments(app)


def start() -> type[scripts.Script]:
    """Set everything up; page, API and generations share one server."""
    webui = this_webui()
    register(webui)
    return script_of(webui)


# The WebUI looks for classes in this file.
LoRAtorio = start()
