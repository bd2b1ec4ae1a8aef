"""The room of chapter 5: what retraining does to magnitudes."""
