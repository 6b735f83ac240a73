"""Runs the whole system in one process under a virtual clock: one seed makes one plan and one schedule."""
