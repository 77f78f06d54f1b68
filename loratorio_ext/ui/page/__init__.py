"""A page without a WebUI: a prompt, the panel, the pictures, and the inspector."""
