"""allauth's forms as this site changes them; ACCOUNT_FORMS in config/settings/base.py names each, "signup" too."""

from allauth.account import forms
from allauth.account.models import EmailAddress

from apps.users.models import User


class ResetPasswordForm(forms.ResetPasswordForm):
    """Mails a link to the account that has this main address or has confirmed it, not to one that only added it."""

    users: list[User]

    def clean_email(self) -> str:
        email: str = super().clean_email()
        confirmed = EmailAddress.objects.filter(email=email.lower(), verified=True).values_list("user_id", flat=True)
        self.users = [user for user in self.users if user.email == email.lower() or user.pk in confirmed]
        return email
