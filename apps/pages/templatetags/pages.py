"""What templates of pages and mails ask for: the site's name, and the request id that a person can quote."""

from django import template

from config import logs

SITE_NAME = "Blueprint"  # yours goes here: pages, titles and mails take it from this line

register = template.Library()


@register.simple_tag
def site_name() -> str:
    """As `{% site_name as site %}` it can stand inside a translated text."""
    return SITE_NAME


@register.simple_tag
def request_id() -> str:
    """The id in the response's X-Request-ID and in the log lines; empty outside a request."""
    return logs.request_id.get()
