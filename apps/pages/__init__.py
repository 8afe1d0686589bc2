"""The base template, the home page, the error pages and the static files of the whole site."""
