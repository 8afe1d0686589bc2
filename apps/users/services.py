"""The ownership of accounts: who proves an address, and which accounts are abandoned."""

from datetime import timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.users.models import User

KEEP_UNCONFIRMED = timedelta(days=31)


def confirm_by_reset(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Confirm the address of a person who resets the password by mail, if the account has no confirmed one.

    ResetPasswordForm mails no link to another address of an account without a confirmed one. Codes that were sent to
    a stranger's sessions are void with it, since an address is confirmed once. The session starts anew: a sign-up that
    waits in it for a code would stand before the sign-in page.
    """
    if not EmailAddress.objects.filter(user=user, verified=True).exists():
        address, _ = EmailAddress.objects.get_or_create(user=user, email=user.email)
        get_adapter().confirm_email(request, address)
    request.session.flush()


def abandoned_accounts() -> QuerySet[User]:
    """Accounts that never confirmed an address, never signed in, own nothing, are not staff and older than a month."""
    found = User.objects.filter(
        last_login=None, is_staff=False, is_superuser=False, date_joined__lt=timezone.now() - KEEP_UNCONFIRMED
    ).exclude(Exists(EmailAddress.objects.filter(user=OuterRef("pk"), verified=True)))
    # With the hidden relations, among which are those of the tables behind many-to-many fields.
    relations: list[Any] = [field for field in User._meta.get_fields(include_hidden=True) if field.auto_created]
    for relation in relations:
        if (relation.one_to_many or relation.one_to_one) and relation.related_model is not EmailAddress:
            rows = relation.related_model._base_manager.filter(**{f"{relation.field.name}__pk": OuterRef("pk")})
            found = found.exclude(Exists(rows))
    return found


def delete_abandoned_accounts() -> None:
    for pk in list(abandoned_accounts().values_list("pk", flat=True)):
        with transaction.atomic():
            User.objects.select_for_update().filter(pk=pk).first()  # waits for a confirmation that is under way
            abandoned_accounts().filter(pk=pk).delete()
