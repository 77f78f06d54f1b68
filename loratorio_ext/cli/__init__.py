"""The command line: `generate`, `serve`, `demo`, `evaluate`, `bench`, `train-demo`."""
