"""What a generation tells the user: under the picture, in the log, and in the API's answer."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("loratorio")

SPEAKER = "LoRAtorio: "
"""How every comment under a picture begins."""

COMMENTS = "LoRAtorio comments"
"""The key of what was said in the API's ``info``, under ``extra_generation_params``."""


def say(p: Any, text: str) -> None:
    """Say it under the image and in the log, once."""
    comment = f"{SPEAKER}{text}"
    if comment not in p.comments:
        p.comment(comment)
        logger.warning("%s", text)


def forget_comments(p: Any) -> None:
    """Drop what an earlier generation said; scripts that copy ``p`` share its comments."""
    for comment in [one for one in p.comments if one.startswith(SPEAKER)]:
        del p.comments[comment]


def put_into_answer(p: Any, processed: Any) -> None:
    """Let the page and the API show what was said up to now.

    ``Processed`` copies the comments before scripts are done, and the API leaves them out.
    """
    ours = [comment for comment in p.comments if comment.startswith(SPEAKER)]
    processed.comments += "".join(f"{comment}\n" for comment in ours if comment not in processed.comments)
    if ours:
        said = "; ".join(comment.removeprefix(SPEAKER) for comment in ours)
        # A dict of its own: p's may be used again.
        processed.extra_generation_params = {**processed.extra_generation_params, COMMENTS: said}
