"""The command line `loratorio`: `generate`, `serve`, `demo`."""
