"""Optional: Sentry and OpenTelemetry. Neither is imported unless its variable is set.

Their packages are not in the production lock: install requirements/sentry.txt or requirements/otel.txt beside it.
"""

import sys
from typing import Any

from config import logs, settings

SECONDS = 2  # that a process gives at most to a silent receiver when it ends


def start() -> None:
    """Called once by each process, by `logs.start`. Both survive a fork: their threads start anew in the child."""
    if settings.SENTRY_DSN:
        start_sentry(settings.SENTRY_DSN)
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT and logs.Process.type in ("web", "worker", "clock"):
        start_tracing(settings.OTEL_EXPORTER_OTLP_ENDPOINT)


def start_sentry(dsn: str) -> None:
    """Each event of level error, masked as in the log, which is the only source: so nothing comes twice."""
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger

    for name, logger in settings.LOGGING["loggers"].items():
        if logger.get("handlers") == ["nobody"]:  # another event tells of the same
            ignore_logger(name)
    sentry_sdk.init(
        dsn,
        release=settings.RELEASE or settings.COMMIT or None,
        default_integrations=False,
        integrations=[LoggingIntegration(), AtexitIntegration(callback=lambda pending, timeout: None)],
        before_send=prepare,
        before_breadcrumb=lambda crumb, hint: None,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        shutdown_timeout=SECONDS,
    )


def prepare(event: Any, hint: Any) -> Any:
    record = hint.get("log_record")
    told = getattr(record, "event", {})
    event = mask(event)
    event.get("extra", {}).get("event", {}).pop("client", None)  # a person's address is the log's alone
    event["tags"] = {"process_type": logs.Process.type, "request_id": told.get("request_id") or logs.request_id.get()}
    return event


def masked_attribute(key: str, value: Any) -> Any:
    """As in the log: an address loses its query, and segments as long as a token."""
    if key == "url.query":
        return ""
    if isinstance(value, str) and key.startswith(("http.", "url.")):
        value = logs.safe_path(value.partition("?")[0])
    return mask(value)


def mask(value: Any) -> Any:
    if isinstance(value, str):
        return logs.masked(value)
    if isinstance(value, dict):
        return {key: "***" if logs.is_secret(str(key)) else mask(item) for key, item in value.items()}
    return [mask(item) for item in value] if isinstance(value, list | tuple) else value


def start_tracing(endpoint: str) -> None:
    """Spans of requests and tasks, sent as OTLP over HTTP from a thread; their ids are in the events."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Status

    fields = logs.Process.fields
    resource = Resource.create(
        {
            "service.name": fields["process_type"],
            "service.instance.id": fields["process"],
            "service.version": fields["release"],
        }
    )
    provider = TracerProvider(resource=resource)

    class MaskedExporter(OTLPSpanExporter):
        def export(self, spans: Any) -> Any:
            for span in spans:  # what a library put there: addresses with their query, texts of exceptions
                span._attributes = {key: masked_attribute(key, value) for key, value in span.attributes.items()}
                for event in span.events:
                    event._attributes = mask(dict(event.attributes))
                span._status = Status(span.status.status_code, mask(span.status.description))
            return super().export(spans)

    exporter = MaskedExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000, max_queue_size=512))
    trace.set_tracer_provider(provider)
    if logs.Process.type == "web":
        DjangoInstrumentor().instrument(excluded_urls="health/live,health/ready")
    CeleryInstrumentor().instrument()
    if "celery" in sys.modules:
        from celery.signals import worker_process_shutdown

        worker_process_shutdown.connect(lambda **kwargs: provider.shutdown(), weak=False)

    def current() -> dict[str, str]:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    logs.Process.trace = current
