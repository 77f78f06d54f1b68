from __future__ import annotations

from modules.accordion_common import Accordion


class InputAccordion(Accordion):
    pass
