"""Measures speed and memory on the live kernel: `python -m linnix_rec.bench`. Judges no capture."""
