"""The room of chapter 3: perturbed initializations, and where SGD takes them."""
