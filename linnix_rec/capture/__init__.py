"""Captures on disk: the event schema, the writer, the reader, capture.json; knows no kernel."""
