"""Proves that the simulation notices: each mutant takes out one thing that a guarantee rests on."""
