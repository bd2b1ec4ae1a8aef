"""The room of chapter 1: winning tickets, controls, stability."""
