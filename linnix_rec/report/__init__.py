"""What people look at: text for terminals, and formats for other programs. Decides nothing about events."""
