"""Figures of the book. Each function takes records and returns a ``style.Drawing``, or several as ``panes.Panes``."""
