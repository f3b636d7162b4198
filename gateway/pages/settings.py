"""The configuration that counts, without its secrets, and what each model costs where."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import yaml
from starlette.responses import Response

from gateway.config.load import environment
from gateway.config.problem import ConfigError
from gateway.config.shown import shown
from gateway.pages.visiting import Visit
from gateway.policy import pricing
from gateway.policy.routing import ANY_AUDIO


async def get(visit: Visit) -> Response:
    """The page."""
    config = visit.site.config
    try:
        tree = await asyncio.to_thread(shown, Path(config.file), environment())
        text, wrong = yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=110), ""
    except ConfigError as error:
        text, wrong = "", str(error)
    return visit.page("settings.html", title="Configuration", text=text, wrong=wrong, prices=list(_prices(visit)))


def _prices(visit: Visit) -> Iterator[tuple[str, str, str, str]]:
    """Upstream, model, price and where that is from."""
    market = visit.site.config.market
    for upstream in market.upstreams:
        for model in (*sorted(upstream.models), ANY_AUDIO):
            price = market.price(upstream, model)
            if price is not None:
                yield upstream.name, model, pricing.told(price), price.origin
