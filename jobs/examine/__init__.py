"""What is found out before anything runs: the findings, a sample, what will fail, and proof that ids and vectors fit."""
