"""What an encoder is worth: kNN, linear probe, fine-tuning, metrics with intervals, reports."""
