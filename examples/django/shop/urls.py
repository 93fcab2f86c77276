"""The one view."""

from __future__ import annotations

import os

from django.apps import apps
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path


def quote(request: HttpRequest, sku: str) -> JsonResponse:
    """Answer with a price, and with the state of the session."""
    from generated import pricing

    session = apps.get_app_config("shop").session
    try:
        price = pricing.quote(sku, int(request.GET.get("quantity", 1)))
    except KeyError:  # the source raised it in the worker
        raise Http404(f"no such thing: {sku}") from None
    answer = {"price": price, "generation": session.generation, "stale": session.status.stale, "pid": os.getpid()}
    return JsonResponse(answer)


urlpatterns = [path("quotes/<sku>", quote)]
