"""The public transforms for rows as a Beam user has them: one file for each stage that they stand before."""
