"""Template tags for pages and mails: the site's name and the id of the request."""

from django import template

from twelve import logs

SITE_NAME = "Blueprint"  # change it here: pages, titles and mails use it

register = template.Library()


@register.simple_tag
def site_name() -> str:
    """Return the site's name. Pages that extend base.html have it as `{{ site_name }}`.

    Inside a translated text, use `{% site_name as site %}` before it.
    """
    return SITE_NAME


@register.simple_tag
def request_id() -> str:
    """Return the id in the X-Request-ID header and in the log, or an empty string outside a request."""
    return logs.request_id.get()
