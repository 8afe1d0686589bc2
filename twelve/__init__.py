"""The machinery of a twelve-factor Django project: replaced as a whole, never edited. See docs/architecture.md."""

__version__ = "1.0.0"
