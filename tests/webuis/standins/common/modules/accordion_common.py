"""For the stand-ins' own ``ui_components.py``; no WebUI has this file."""

from __future__ import annotations

import gradio as gr


class Accordion:
    """A check box that is drawn as an accordion. (The WebUIs' is a subclass of gradio's check box.)"""

    def __init__(self, value, label, elem_id):
        self.value = value
        self.checkbox = gr.Checkbox(value, elem_id=f"{elem_id}-checkbox", visible=False)
        self.accordion = gr.Accordion(label=label, elem_id=elem_id, open=value)

    def __enter__(self):
        self.accordion.__enter__()
        return self

    def __exit__(self, *error):
        self.accordion.__exit__(*error)

    def __getattr__(self, name):
        """To gradio it is the check box. (A subclass would have gradio write files beside this one.)"""
        return getattr(self.__dict__["checkbox"], name)
