"""What every page shares: the base template, home, the error pages, the site's own static files."""
