"""Rates, budgets and time limits of LiteLLM in our words."""

from collections.abc import Mapping

from gateway.imports.draft import Draft, Limit, number, plain, text

_PERIODS: Mapping[str, str] = {
    **dict.fromkeys(("60s", "1m"), "minute"),
    **dict.fromkeys(("3600s", "60m", "1h"), "hour"),
    **dict.fromkeys(("24h", "1d"), "day"),
    **dict.fromkeys(("30d", "31d", "1mo"), "month"),
}


def limits_of(draft: Draft, what: str, fields: Mapping[str, object]) -> tuple[Limit, ...]:
    """The limits of an upstream that a deployment's fields say."""
    found: list[Limit] = []
    for field, measure, per in (("rpm", "requests", "minute"), ("max_parallel_requests", "concurrency", "")):
        amount = number(fields.get(field))
        if field not in fields or fields[field] is None:
            continue
        if amount is None or amount < 1:
            draft.say("left out", f"{what}: {field}", "it is no number of at least 1")
            continue
        found.append(Limit(measure, per, str(min(int(amount), 10**12))))
        draft.say(
            "taken",
            f"{what}: {field}",
            f"a limit of the upstream: {measure}{'/' + per if per else ''}={found[-1].amount}",
        )
    budget = budgeted(draft, what, fields)
    return (*found, budget) if budget else tuple(found)


def budgeted(draft: Draft, what: str, fields: Mapping[str, object]) -> Limit | None:
    """The limit in US dollars that max_budget and budget_duration say."""
    amount, span = number(fields.get("max_budget")), text(fields.get("budget_duration"))
    if fields.get("max_budget") is None:
        if span:
            draft.say("left out", f"{what}: budget_duration", "there is no max_budget with it")
        return None
    per = _PERIODS.get(span, "") if span else "total"
    if amount is None or not 0 < amount < 10**9 or not per or plain(amount) == "0":
        draft.say(
            "left out", f"{what}: max_budget", f"no limit of ours is like {shown_amount(amount)} per {span or 'ever'}"
        )
        return None
    how = f"usd/{per}={plain(amount)}"
    if span in ("30d", "31d"):
        draft.say("changed", f"{what}: max_budget", f"{how}: by the calendar, not every {span}")
    else:
        draft.say("taken", f"{what}: max_budget", how)
    return Limit("usd", per, plain(amount))


def shown_amount(amount: object) -> str:
    """A number in a line of the account."""
    return "that" if amount is None else f"${amount}"


def timeout_of(draft: Draft, what: str, fields: Mapping[str, object]) -> str:
    """Seconds to wait for the first byte of an answer, "" if nothing is said."""
    seconds = number(fields.get("timeout"))
    if fields.get("timeout") is None:
        return ""
    if seconds is None or not 0 < seconds <= 86_400 or plain(seconds) == "0":
        draft.say("left out", f"{what}: timeout", "it is no number of seconds up to a day")
        return ""
    draft.say("changed", f"{what}: timeout", f"timeouts.first_byte: {plain(seconds)}, counted until the answer begins")
    return plain(seconds)
