"""Who may come in: the user model, sign-up and sign-in by email address."""
