"""Hosts: each knows how to load networks, encode prompts and predict rows; the run does the rest."""
