"""Simultaneous saves of one name, by threads of several processes."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import django
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import TemporaryUploadedFile

PROCESSES, THREADS, ROUNDS = 3, 4, 4
SIZE = 100_000  # bytes of each content
others = threading.Barrier(1)  # where a process waits for the others; prepare() puts theirs here


def save_at_once(setting, name):
    """Have each thread of each process save a content of its own under one name, ROUNDS times in a new folder.

    `setting` is an entry of STORAGES. Returns the contents by their names: one that two saves got has both.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, prepare, [context.Barrier(PROCESSES)]) as pool:
        return by_name(pool.map(save_in_threads, [setting] * PROCESSES, [name] * PROCESSES, range(PROCESSES)))


def prepare(barrier):
    """Runs first in each process."""
    global others
    others = barrier
    django.setup()


def by_name(saves):
    saved = {}
    for name, content in (each for answer in saves for each in answer):
        saved.setdefault(name, []).append(content)
    return saved


def save_in_threads(setting, name, process=0):
    storage = storages.create_storage(setting)
    find, to_wait = storage.get_available_name, threading.local()
    together = threading.Barrier(THREADS, action=lambda: others.wait(60))

    def find_together(name, max_length=None):
        """Each thread finds the name free before any takes it; one that finds it taken then does not wait again."""
        found = find(name, max_length=max_length)
        if to_wait.first:
            to_wait.first = False
            together.wait(60)
        return found

    def save(thread):
        answers = []
        for turn in range(ROUNDS):
            to_wait.first = True
            content = bytes([process, thread, turn]) * (SIZE // 3)
            try:
                answers.append((storage.save(f"{turn}/{name}", upload(content, on_disk=thread % 2)), content))
            except BaseException:
                together.abort()  # nobody waits for this thread
                others.abort()
                raise
        return answers

    storage.get_available_name = find_together
    with ThreadPoolExecutor(THREADS) as crowd:
        return [answer for answers in crowd.map(save, range(THREADS)) for answer in answers]


def upload(content, on_disk):
    """The content as a small upload is given, or as a large one is."""
    if not on_disk:
        return ContentFile(content)
    file = TemporaryUploadedFile("name", "text/plain", len(content), None)
    file.write(content)
    file.flush()
    file.seek(0)
    return file
