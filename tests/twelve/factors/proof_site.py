"""The site with pages for the proofs: `gunicorn … tests.twelve.factors.proof_site`."""

import time
from io import BytesIO
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config.wsgi import application  # isort: skip  # noqa: F401  # what gunicorn serves; loads the apps
from config import urls
from tests.twelve.services import work as tasks


def visit(request):
    """The user, and how many visits the session has had: what a session is for."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"{request.user.pk} {request.session['visits']}")


@csrf_exempt
def save(request):
    """Keep the body as a file, and have a task copy it; the answer is the file's name."""
    name = default_storage.save("proof/file", ContentFile(request.body))
    with transaction.atomic():
        tasks.copy.enqueue(name, f"{name}-copied")
    return HttpResponse(name)


def read(request, name):
    if not default_storage.exists(name):
        return HttpResponse(status=404)
    with default_storage.open(name) as file:
        return HttpResponse(file.read())


@csrf_exempt
def accept(request):
    """Accept a task of tests.twelve.services.work: an answer of 202 promises that it will be done."""
    with transaction.atomic():
        getattr(tasks, request.GET["task"]).enqueue(*request.GET.getlist("argument"))
    return HttpResponse(status=202)


def wait(request):
    """An answer that takes its time and no processor, as one that waits for another service; it marks its beginning."""
    if "begun" in request.GET:
        Path(request.GET["begun"]).touch()
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("waited")


def query(request):
    """An answer for which PostgreSQL takes so long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [float(request.GET["seconds"])])
    return HttpResponse("done")


@csrf_exempt
def receive(request):
    """Read the body piece by piece, as an upload is read, and answer how many bytes it had."""
    return HttpResponse(str(sum(len(piece) for piece in iter(lambda: request.read(65536), b""))))


def large(request):
    """An answer of many bytes, from memory, as a stream or as a file."""
    size = int(request.GET["bytes"])
    match request.GET["kind"]:
        case "stream":
            return StreamingHttpResponse(b"x" * 65536 for _ in range(size // 65536))
        case "file":
            return FileResponse(BytesIO(b"x" * size))
    return HttpResponse(b"x" * size)


urls.urlpatterns += [
    path("visit/", visit),
    path("save/", save),
    path("read/<path:name>", read),
    path("accept/", accept),
    path("wait/", wait),
    path("query/", query),
    path("receive/", receive),
    path("large/", large),
]
