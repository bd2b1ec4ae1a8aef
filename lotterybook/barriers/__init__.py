"""The room of chapter 2: error barriers between the levels."""
