"""What happened, told from rows alone: who started whom, and each ending. Knows no kernel and no screen."""
