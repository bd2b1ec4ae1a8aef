"""Figures of the book, a module per chapter. Each function takes records and returns a ``style.Drawing``."""
