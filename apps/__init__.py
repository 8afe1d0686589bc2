"""The project's apps: users, pages, jobs, ops and the sample, photos. Put yours beside them."""
