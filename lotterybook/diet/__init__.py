"""The room of chapter 6: which examples a ticket has to see, and when."""
