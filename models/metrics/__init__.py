"""How far two masks agree: Dice, and distances of their surfaces."""
