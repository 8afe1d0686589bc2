"""The backend does what Django documents of its Tasks API."""

from datetime import datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.tasks import TaskResultStatus, default_task_backend
from django.tasks import task as django_task
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone

from tests.twelve.tasks import sample
from twelve import testing
from twelve.models import TaskRecord
from twelve.tasks import DurableTask, task
from twelve.tasks.table import retry
from twelve.tasks.worker import perform

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    sample.done.clear()
    monkeypatch.setattr("twelve.tasks.publish.publish", lambda record: True)


def module_level(value):
    """A function that the tests declare as a task."""


def test_a_result_follows_its_task_to_success():
    result = sample.add.enqueue(1, b=2)
    assert (result.status, result.attempts, result.is_finished) == (TaskResultStatus.READY, 0, False)
    assert (result.args, result.kwargs, result.started_at) == ([1], {"b": 2}, None)
    assert result.enqueued_at
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    assert testing.run_tasks() == 1
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert len(result.worker_ids) == 1
    assert sample.add.get_result(result.id) == result


def test_a_result_follows_its_task_to_failure():
    result = sample.broken.enqueue()
    testing.run_tasks()
    result.refresh()
    assert (result.status, result.is_finished) == (TaskResultStatus.FAILED, True)
    (error,) = result.errors
    assert error.exception_class is KeyError
    assert error.traceback.endswith("KeyError: 'a bug'\n")
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_each_attempt_has_its_error_and_its_worker():
    result = sample.refused.enqueue()
    for _ in range(3):
        TaskRecord.objects.update(due=timezone.now())
        testing.run_tasks()
    result.refresh()
    assert (result.status, result.attempts, len(result.worker_ids)) == (TaskResultStatus.FAILED, 3, 3)
    assert [error.exception_class for error in result.errors] == [ConnectionRefusedError] * 3


def test_a_value_that_is_not_of_json_fails_the_task():
    result = sample.returns_nothing_of_json.enqueue()
    testing.run_tasks()
    result.refresh()
    assert result.errors[0].exception_class is TypeError


def test_arguments_that_are_not_of_json_are_refused():
    with pytest.raises(TypeError):
        sample.note.enqueue(object())
    assert not TaskRecord.objects.exists()


def test_a_task_that_takes_a_context_learns_its_attempt():
    result = sample.describe_attempt.enqueue("value")
    testing.run_tasks()
    assert sample.describe_attempt.get_result(result.id).return_value == [1, result.id, "value"]
    with pytest.raises(InvalidTask, match="context"):
        task(takes_context=True)(module_level)


def test_a_coroutine_is_a_task():
    result = sample.add_later.enqueue(1, 2)
    testing.run_tasks()
    assert sample.add_later.get_result(result.id).return_value == 3


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_enqueues_and_reads_results():
    async def both():
        result = await sample.note.aenqueue("value")
        return result, await sample.note.aget_result(result.id)

    result, same = async_to_sync(both)()
    assert result == same
    assert TaskRecord.objects.get().args == ["value"]


def test_a_task_waits_until_run_after():
    later = timezone.now() + timedelta(minutes=1)
    result = sample.note.using(run_after=later).enqueue(1)
    assert result.task.run_after == later
    assert testing.run_tasks() == 0
    assert sample.note.get_result(result.id).task.run_after == later
    TaskRecord.objects.update(due=timezone.now())
    assert testing.run_tasks() == 1
    with pytest.raises(InvalidTask, match="aware"):
        sample.note.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001


def test_a_task_goes_to_its_queue():
    result = sample.note.using(queue_name="slow").enqueue(1)
    assert TaskRecord.objects.get().queue == "slow"
    assert sample.note.get_result(result.id).task.queue_name == "slow"
    with pytest.raises(InvalidTask, match="fast"):
        sample.note.using(queue_name="fast")


def test_priority_is_not_offered():
    assert not default_task_backend.supports_priority
    with pytest.raises(InvalidTask, match="priority"):
        sample.note.using(priority=1)


def test_a_function_inside_another_is_no_task():
    with pytest.raises(InvalidTask, match="module level"):
        task(lambda: None)


@pytest.mark.parametrize("id_", ["4711", "of-nothing", ""])
def test_an_id_of_nothing_has_no_result(id_):
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(id_)


def test_a_result_is_read_by_its_own_task_alone():
    result = sample.note.enqueue(1)
    with pytest.raises(TaskResultMismatch):
        sample.add.get_result(result.id)


def test_a_task_that_this_release_does_not_have_has_no_result():
    result = sample.note.enqueue(1)
    TaskRecord.objects.update(task="apps.gone.tasks.note")
    with pytest.raises(TaskResultDoesNotExist):
        sample.note.get_result(result.id)


def test_djangos_own_decorator_takes_the_options():
    declared = django_task(max_attempts=2, retry_on=(KeyError,))(module_level)
    assert isinstance(declared, DurableTask)
    assert (declared.max_attempts, declared.retry_on) == (2, (KeyError,))


@pytest.mark.parametrize("options", [{"unique_key": "a"}, {"max_attempt": 2}])
def test_a_task_takes_neither_a_unique_key_nor_an_unknown_option(options):
    with pytest.raises(TypeError):
        task(**options)(module_level)


def test_a_backend_that_is_not_durable_is_named_with_what_to_write(settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    with pytest.raises(ImproperlyConfigured, match="DurableBackend"):
        task(module_level)


def test_the_signals_of_django_are_sent():
    received = []

    def note(signal, task_result, **kwargs):
        received.append((signal, task_result.status))

    signals = (task_enqueued, task_started, task_finished)
    for signal in signals:
        signal.connect(note)
    try:
        sample.note.enqueue(1)
        testing.run_tasks()
    finally:
        for signal in signals:
            signal.disconnect(note)
    states = (TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.SUCCESSFUL)
    assert received == list(zip(signals, states, strict=True))


def test_enqueueing_is_one_insert(django_assert_num_queries):
    with django_assert_num_queries(1):
        sample.note.enqueue(1)


def test_an_immediate_backend_runs_the_task_while_it_is_enqueued(settings):
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": {"immediate": True}}}
    result = sample.add.enqueue(1, b=1)
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 2)
    assert sample.broken.enqueue().status == TaskResultStatus.FAILED


# -- Unique keys ------------------------------------------------------------------------------------------------------


def test_while_a_task_with_the_key_waits_runs_or_is_done_it_is_that_one(monkeypatch):
    keyed = sample.note.using(unique_key="the one")
    first = keyed.enqueue(1)
    for status in (TaskResultStatus.READY, TaskResultStatus.RUNNING, TaskResultStatus.SUCCESSFUL):
        TaskRecord.objects.update(status=status)
        again = keyed.enqueue(2)
        assert (again.id, again.args, again.status) == (first.id, [1], status)
    assert TaskRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_failed_task_with_the_key_starts_anew(monkeypatch):
    published = []
    monkeypatch.setattr("twelve.tasks.publish.publish", lambda record: published.append(record.pk))
    keyed = sample.hopeless.using(unique_key="the one")
    first = keyed.enqueue("a")
    testing.run_tasks()
    again = keyed.enqueue("b")
    assert (again.id, again.status, again.args, again.attempts) == (first.id, TaskResultStatus.READY, ["b"], 0)
    assert published == [int(first.id)] * 2
    testing.run_tasks()
    assert keyed.get_result(first.id).attempts == 1
    assert sample.done == [("no way", "a"), ("no way", "b")]


def test_a_key_leaves_the_callers_transaction_as_it_was():
    with transaction.atomic():
        for number in range(2):
            sample.note.using(unique_key="the one").enqueue(number)
        sample.note.enqueue(3)
    assert TaskRecord.objects.count() == 2


def test_a_worker_that_lost_a_task_cannot_end_one_that_started_anew():
    """The number of attempts begins again, the token does not."""
    keyed = sample.broken.using(unique_key="the one")
    record = TaskRecord.objects.get(pk=keyed.enqueue().id)
    perform(record.pk)
    assert retry(TaskRecord.objects.all()) == 1
    record.refresh_from_db()
    assert (record.attempts, record.token, record.worker_ids) == (0, 1, "")


def test_a_key_of_another_function_is_refused():
    sample.note.using(unique_key="the one").enqueue(1)
    with pytest.raises(ValueError, match="the one"):
        sample.add.using(unique_key="the one").enqueue(1)


def test_a_result_of_a_queue_that_is_gone_can_be_read():
    result = sample.note.using(queue_name="slow").enqueue(1)
    TaskRecord.objects.update(queue="former")
    assert sample.note.get_result(result.id).status == TaskResultStatus.READY
