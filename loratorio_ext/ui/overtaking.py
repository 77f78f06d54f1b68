"""What gradio's versions do differently with answers that come soon after each other."""

from __future__ import annotations

import gradio as gr


def answers_overtake() -> bool:
    """Whether an earlier answer may come after a later one and stay (gradio 3).

    Each answer is then followed by one for the values of that time; later versions keep the order.
    """
    return str(gr.__version__).startswith("3.")
