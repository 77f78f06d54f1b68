from __future__ import annotations

import gradio as gr


class InputAccordion:
    """A check box that is drawn as an accordion. (The WebUI's is a subclass of gradio's check box.)"""

    def __init__(self, value, **kwargs):
        self.value = value
        self.checkbox = gr.Checkbox(value, elem_id=f"{kwargs['elem_id']}-checkbox", visible=False)
        self.accordion = gr.Accordion(label=kwargs["label"], elem_id=kwargs["elem_id"], open=value)

    def __enter__(self):
        self.accordion.__enter__()
        return self

    def __exit__(self, kind, value, traceback):
        self.accordion.__exit__(kind, value, traceback)

    def __getattr__(self, name):
        """To gradio it is the check box. (A subclass would have gradio write files beside this one.)"""
        return getattr(self.__dict__["checkbox"], name)
