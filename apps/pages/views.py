"""The home page, and the error pages, which are rendered without the request: they need no database."""

import sys

from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from twelve.services.storage import StorageError

# Raised when a database is unreachable, full, too slow or read-only, and by a bucket. Others are programming errors.
UNABLE = (OperationalError, InternalError, InterfaceError, StorageError)
RETRY_AFTER = 10  # seconds


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "home.html")


def error_page(status: int) -> HttpResponse:
    # With a request, the context processors would query the user.
    return HttpResponse(render_to_string(f"{status}.html"), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(404)


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]  # Django calls this while it handles the exception
    # SQLite raises OperationalError for a wrong statement as well, with the code SQLITE_ERROR.
    mistake = getattr(getattr(error, "__cause__", None), "sqlite_errorcode", None) == 1
    if not isinstance(error, UNABLE) or mistake:
        return error_page(500)
    response = error_page(503)
    response["Retry-After"] = str(RETRY_AFTER)
    return response
