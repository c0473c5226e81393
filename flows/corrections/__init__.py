"""A corrected SEG comes back: understood, kept, taught or left out and why, taken back."""
