"""What a platform or an operator calls: health, processes, the environment."""
