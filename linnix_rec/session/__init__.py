"""One recording from start to stop: the command's life, signals, the writer beside the reader."""
