"""Engines that models are timed in, a file each; deploy/engine.py says what such a file holds."""
