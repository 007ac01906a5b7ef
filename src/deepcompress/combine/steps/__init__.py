"""One file per step: `run(work, room)` makes a model from the one before."""
