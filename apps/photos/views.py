import time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.middleware import HtmxDetails

from apps.photos import direct, services
from apps.photos.forms import SignForm, UploadForm
from apps.photos.models import Photo
from apps.users.models import User

PHOTOS_PER_PAGE = 24
UPLOAD_SECONDS = 15  # until the last file is begun with; a router waits 30 s


class Request(HttpRequest):
    """What a request is behind login_required and the middleware of htmx."""

    user: User
    htmx: HtmxDetails


@login_required
@never_cache  # the same address answers a browser with a page and htmx with a part of it
@require_http_methods(["GET", "HEAD", "POST"])
def photo_list(request: Request) -> HttpResponse:
    deadline = time.monotonic() + UPLOAD_SECONDS
    form = UploadForm(request.POST, with_arrived(request, deadline)) if request.method == "POST" else UploadForm()
    if form.is_valid():
        count = len(services.save_uploads(request.user, form.cleaned_data["photos"], deadline))
        messages.success(request, ngettext("%d photo is uploaded.", "%d photos are uploaded.", count) % count)
        return redirect("photos:list")
    page = Paginator(Photo.objects.filter(owner=request.user), PHOTOS_PER_PAGE).get_page(request.GET.get("page"))
    waiting = any(photo.state == Photo.State.WAITING for photo in page)
    template = "photos/list.html#grid" if request.htmx else "photos/list.html"
    context = {"form": form, "page": page, "waiting": waiting, "direct": settings.MEDIA_DIRECT_UPLOAD}
    return render(request, template, context)


def with_arrived(request: Request, deadline: float) -> "MultiValueDict[str, Any]":
    """The files of the form, with those that the browser has put into the bucket by itself."""
    files: Any = request.FILES.copy()
    posted = request.POST
    if settings.MEDIA_DIRECT_UPLOAD:
        arrived = direct.arrived(request.user, posted.getlist("upload"), posted.getlist("name"), deadline)
        for file in arrived:
            files.appendlist("photos", file)
    return files


@login_required
@require_POST
def photo_sign(request: Request) -> JsonResponse:
    """Where a browser may put one file itself; answers with an error to show, or 404 where the storage takes none."""
    if not settings.MEDIA_DIRECT_UPLOAD:
        raise Http404
    form = SignForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"error": " ".join(map(str, form.errors["size"]))}, status=400)
    return JsonResponse(direct.sign(request.user, form.cleaned_data["type"], form.cleaned_data["size"]))


@login_required
@never_cache
@require_safe
def photo_detail(request: Request, pk: UUID) -> HttpResponse:
    photo = get_object_or_404(Photo, pk=pk, owner=request.user)
    template = "photos/detail.html#photo" if request.htmx else "photos/detail.html"
    return render(request, template, {"photo": photo})


@login_required
@require_safe
def photo_download(request: Request, pk: UUID) -> HttpResponse:
    return redirect(services.download_url(get_object_or_404(Photo, pk=pk, owner=request.user)))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def photo_delete(request: Request, pk: UUID) -> HttpResponse:
    photo = get_object_or_404(Photo, pk=pk, owner=request.user)
    if request.method != "POST":
        return render(request, "photos/delete.html", {"photo": photo})
    photo.delete()
    messages.success(request, _("“%s” is deleted.") % photo)
    return redirect("photos:list")
