"""`dvc repro` with several stages at a time."""
