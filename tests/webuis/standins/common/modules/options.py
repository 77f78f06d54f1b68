from __future__ import annotations

from types import SimpleNamespace


class OptionInfo:
    def __init__(
        self,
        default=None,
        label="",
        component=None,
        component_args=None,
        onchange=None,
        section=None,
        refresh=None,
        comment_before="",
        comment_after="",
        infotext=None,
        restrict_api=False,
        category_id=None,
    ):
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.section = section
        self.category_id = category_id
        self.comment_after = comment_after

    def info(self, info):
        self.comment_after += f"<span class='info'>({info})</span>"
        return self

    def html(self, html):
        self.comment_after += html
        return self


def options_section(section_identifier, options_dict):
    for option in options_dict.values():
        option.section = section_identifier[:2]
    return options_dict


class Options(SimpleNamespace):
    """Values are attributes."""

    def __init__(self, values):
        super().__init__(**values)
        self.data_labels = {}

    def add_option(self, key, info):
        self.data_labels[key] = info
        self.__dict__.setdefault(key, info.default)
