"""What the event of a request costs: the same view with and without twelve.logs.RequestMiddleware, in turn."""

import os
import statistics
import time

ROUNDS, REQUESTS = 15, 2000


def main() -> None:
    os.environ |= {"READ_DOT_ENV": "false", "DEBUG": "true", "LOG_FORMAT": "json"}
    os.environ |= {"SECRET_KEY": "for-the-benchmark", "DATABASE_URL": "sqlite:///:memory:"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()
    from django.http import HttpResponse
    from django.test import RequestFactory

    from twelve import logs

    def view(request):
        return HttpResponse(b"hello")

    def seconds(handler):
        requests = [factory.get("/photos/?page=2") for _ in range(REQUESTS)]
        begun = time.perf_counter()
        for request in requests:
            handler(request).close()
        return (time.perf_counter() - begun) / REQUESTS

    factory = RequestFactory()
    logged = logs.RequestMiddleware(view)
    logs.start("web", fd=os.open(os.devnull, os.O_WRONLY), capture=False)
    pairs = [(seconds(logged), seconds(view)) for _ in range(ROUNDS)]
    cost = statistics.median(with_ - without for with_, without in pairs) * 1e6
    least = min(with_ - without for with_, without in pairs) * 1e6
    bare = statistics.median(without for _, without in pairs) * 1e6
    print(f"logs: an event costs {cost:.0f} us a request, at the least {least:.0f} (the bare view takes {bare:.0f} us)")
