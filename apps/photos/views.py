from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.photos import uploads
from apps.photos.forms import UploadForm
from apps.photos.models import Photo
from twelve.services.storage import accepts_uploads, received_files, sign_upload


@accepts_uploads
@login_required
@never_cache  # the same address answers a browser with a page and htmx with a part of it
def photo_list(request: Any) -> HttpResponse:
    posted = request.method == "POST"
    form = UploadForm(request.POST, received_files(request, "photo")) if posted else UploadForm()
    if form.is_valid():
        photo = uploads.save_upload(request.user, *form.cleaned_data["photo"])
        messages.success(request, _("“%s” is uploaded.") % photo)
        return redirect("photos:list")
    page = Paginator(Photo.objects.filter(owner=request.user), per_page=24).get_page(request.GET.get("page"))
    waiting = any(photo.state == Photo.State.WAITING for photo in page)
    template = "photos/list.html#grid" if request.htmx else "photos/list.html"
    context = {"form": form, "page": page, "waiting": waiting, "direct": settings.MEDIA_DIRECT_UPLOAD}
    return render(request, template, context)


@login_required
@require_POST
def photo_sign(request: Any) -> JsonResponse:
    """Return the form with which a browser may send one file to the bucket, or an error to show."""
    if not settings.MEDIA_DIRECT_UPLOAD:
        raise Http404
    try:
        return JsonResponse(sign_upload(request.user, request.POST.get("size", "")))
    except ValidationError as error:
        return JsonResponse({"error": " ".join(error.messages)}, status=400)


@login_required
@never_cache
@require_safe
def photo_detail(request: Any, pk: UUID) -> HttpResponse:
    photo = get_object_or_404(Photo, pk=pk, owner=request.user)
    template = "photos/detail.html#photo" if request.htmx else "photos/detail.html"
    return render(request, template, {"photo": photo})


@login_required
def photo_delete(request: Any, pk: UUID) -> HttpResponse:
    photo = get_object_or_404(Photo, pk=pk, owner=request.user)
    if request.method != "POST":
        return render(request, "photos/delete.html", {"photo": photo})
    photo.delete()
    messages.success(request, _("“%s” is deleted.") % photo)
    return redirect("photos:list")
