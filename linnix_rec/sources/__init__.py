"""Where events come from: each source yields Arrow batches in the event schema. Knows no capture file."""
