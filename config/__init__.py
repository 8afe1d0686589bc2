"""How the project is wired: environment, settings, web server, worker, logs, URLs."""
