"""What is asked of the running deployment: the probes of its backing services."""
