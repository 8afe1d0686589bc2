"""The backing services: one room for each kind, with what its URL may say and the settings that it becomes."""
