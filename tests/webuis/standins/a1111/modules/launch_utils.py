from __future__ import annotations


def git_tag():
    return "v1.10.1"
