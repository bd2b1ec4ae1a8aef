"""The room of chapter 4: how much one pruning can take."""
