"""Config comes from the environment: `env` reads and declares each variable; `manage.py env` lists them."""

from twelve.env import checks
from twelve.env.reader import REQUIRED, Env, check_url, env, exit_with

__all__ = ["REQUIRED", "Env", "check_url", "checks", "env", "exit_with"]
