"""Maps of chapter 2: barriers between any two levels, and the landscape around a solution and its projection."""
