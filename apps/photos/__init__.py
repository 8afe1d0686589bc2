"""The sample: people upload photos and see renditions that a worker makes. Delete it when yours stands."""
