"""What a person starts: the command line, and what stands behind each command. Nobody imports jobs."""
