from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.middleware import HtmxDetails

from apps.photos import services
from apps.photos.forms import UploadForm
from apps.photos.models import Photo
from apps.users.models import User

PHOTOS_PER_PAGE = 24


class Request(HttpRequest):
    """What a request is behind login_required and the middleware of htmx."""

    user: User
    htmx: HtmxDetails


@login_required
@never_cache  # the same address answers a browser with a page and htmx with a part of it
@require_http_methods(["GET", "HEAD", "POST"])
def photo_list(request: Request) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    if form.is_valid():
        count = len(services.save_uploads(request.user, form.cleaned_data["photos"]))
        messages.success(request, ngettext("%d photo is uploaded.", "%d photos are uploaded.", count) % count)
        return redirect("photos:list")
    page = Paginator(Photo.objects.filter(owner=request.user), PHOTOS_PER_PAGE).get_page(request.GET.get("page"))
    waiting = any(photo.state == Photo.State.WAITING for photo in page)
    template = "photos/list.html#grid" if request.htmx else "photos/list.html"
    return render(request, template, {"form": form, "page": page, "waiting": waiting})


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
