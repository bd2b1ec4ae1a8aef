"""The room of chapter 8: the claims together, and one picture with their numbers."""
