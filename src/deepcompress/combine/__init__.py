"""Several techniques on one model, one after the other."""
