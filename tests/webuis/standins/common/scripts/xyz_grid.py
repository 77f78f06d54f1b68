"""As much of the plot script as an extension meets: its axes, and how it puts their values on copies of p."""

from __future__ import annotations

from copy import copy

from modules import scripts
from modules.processing import process_images


def format_value_add_label(p, opt, x):
    return f"{opt.label}: {x}"


def apply_field(field):
    return lambda p, x, xs: setattr(p, field, x)


class AxisOption:
    def __init__(
        self,
        label,
        type,
        apply,
        format_value=format_value_add_label,
        confirm=None,
        cost=0.0,
        choices=None,
        prepare=None,
    ):
        self.label = label
        self.type = type
        self.apply = apply
        self.format_value = format_value
        self.confirm = confirm
        self.cost = cost
        self.choices = choices
        self.prepare = prepare


axis_options = [
    AxisOption("Nothing", str, lambda p, x, xs: None),
    AxisOption("Steps", int, apply_field("steps")),
]


class Script(scripts.Script):
    def run(self, p, *axes):
        """axes: (label, texts) each; the pictures of every combination, the last axis fastest."""
        options = {one.label: one for one in axis_options}
        read = []
        for label, texts in axes:
            values = [options[label].type(text) for text in texts]
            if options[label].confirm:
                options[label].confirm(p, values)
            read.append((options[label], values))
        cells = [[]]
        for option, values in read:
            cells = [[*cell, (option, value, values)] for cell in cells for value in values]
        drawn = []
        for cell in cells:
            pc = copy(p)
            for option, value, values in cell:
                option.apply(pc, value, values)
            drawn.append((process_images(pc), pc))
        return drawn
