"""What all WebUIs have in common; only ``webui.py`` here imports modules of theirs."""
