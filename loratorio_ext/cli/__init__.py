"""The command line: `generate`, `demo`, `train-demo`."""
