"""The ring as a buffer: who may be read, and what was lost. Knows no kernel, no event and no file."""
