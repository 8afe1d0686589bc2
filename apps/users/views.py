from allauth.account.views import login
from django.http import HttpRequest, HttpResponse
from django_htmx.http import HttpResponseClientRefresh


def sign_in(request: HttpRequest) -> HttpResponse:
    """allauth's page. A part of a page that is asked for after the session ended reloads the whole page instead."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRefresh()
    return login(request)
