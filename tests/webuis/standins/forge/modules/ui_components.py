from __future__ import annotations

from modules.accordion_common import Accordion


def InputAccordion(value=None, **kwargs):
    return Accordion(value, **kwargs)
