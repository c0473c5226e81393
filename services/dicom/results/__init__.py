"""Results out: organ SEG, review SEG and SR, each proven by reading it back."""
