"""The site's apps: users, pages and the sample, photos. Put yours beside them."""
