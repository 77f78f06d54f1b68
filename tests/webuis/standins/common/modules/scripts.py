from __future__ import annotations

from collections import namedtuple

AlwaysVisible = object()

ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])

scripts_data = []


class Script:
    infotext_fields = None
    paste_field_names = None

    def title(self):
        raise NotImplementedError()

    def ui(self, is_img2img):
        pass

    def show(self, is_img2img):
        return True

    def process(self, p, *args):
        pass

    def after_extra_networks_activate(self, p, *args, **kwargs):
        pass

    def process_batch(self, p, *args, **kwargs):
        pass

    def process_before_every_sampling(self, p, *args, **kwargs):
        pass

    def post_sample(self, p, ps, *args):
        pass

    def postprocess(self, p, processed, *args):
        pass

    def elem_id(self, item_id):
        return f"{'img2img' if self.is_img2img else 'txt2img'}_script_{self.title().lower()}_{item_id}"


class ScriptRunner(list):
    """The always visible scripts are the list's; the others stand beside it."""

    def __init__(self, scripts=()):
        super().__init__(scripts)
        self.selectable_scripts = []
