"""The room of chapter 7: what holds at each scale, and what each scale costs."""
