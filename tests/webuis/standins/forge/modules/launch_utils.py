from __future__ import annotations


def git_tag():
    return "f2.0.1v1.10.1-previous-668-gdfdcbab6"
