from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.forms import UserChangeForm as DjangoUserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _

from apps.users.models import User


def password_required(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Ask for the password before the page, as the pages of an account do.

    A POST after that is redirected to an empty form: allauth would keep its fields, with passwords, in the session.
    """
    guarded = reauthentication_required(view)

    @wraps(view)
    def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return guarded(request, *args, **kwargs)
        except ReauthenticationRequired:
            if request.method == "POST":
                return redirect(request.get_full_path())
            raise

    return run


class UnconfirmedElsewhere:
    """A form that refuses an address which another account has confirmed."""

    cleaned_data: dict[str, Any]
    instance: User

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if EmailAddress.objects.filter(email=email, verified=True).exclude(user_id=self.instance.pk).exists():
            raise ValidationError(_("This address is taken."))
        return email


class UserCreationForm(UnconfirmedElsewhere, AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class UserChangeForm(UnconfirmedElsewhere, DjangoUserChangeForm):
    pass


@method_decorator(password_required, name="changeform_view")
@method_decorator(password_required, name="delete_view")
@method_decorator(password_required, name="user_change_password")
@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    ordering = ("email",)
    list_display = ("email", "is_active", "is_staff", "date_joined", "last_login")
    search_fields = ("email",)
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)
    add_form = UserCreationForm
    form = UserChangeForm
    actions = None  # deleting many at once would not ask for the password

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """A changed address takes the place of the main one, and counts as confirmed if that did."""
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            main = Q(primary=True) | Q(email__in=[form.initial["email"], obj.email])
            former = EmailAddress.objects.filter(main, user=obj)
            verified = former.filter(verified=True).exists()
            former.delete()
            EmailAddress.objects.create(user=obj, email=obj.email, verified=verified, primary=True)


admin.site.unregister(Group)


@method_decorator(password_required, name="changeform_view")
@method_decorator(password_required, name="delete_view")
@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin):
    """Django's, which asks for the password too: a group gives its members permissions."""

    actions = None
