"""config/gunicorn.py on a gunicorn whose gthread has another name for an argument."""

from gunicorn.workers.gthread import ThreadWorker


def finish_request(self, conn, future, former=ThreadWorker.finish_request):
    former(self, conn, future)


ThreadWorker.finish_request = finish_request

from config.gunicorn import *  # noqa: E402, F403
