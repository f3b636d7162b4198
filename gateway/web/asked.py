"""What programs may ask for under /admin/: the shape of it. Whether it fits is for `config/asked.py` to say."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from gateway.web.rows import AMOUNT, BURST, PER, Measure, Period


class LimitAsked(BaseModel):
    """At most `amount` of `measure` per `per`."""

    model_config = ConfigDict(extra="forbid")

    measure: Measure = Field(description="What is counted.")
    per: Period | None = Field(None, description=PER)
    amount: Decimal = Field(description=AMOUNT + " A number or a decimal text.", examples=["20"])
    burst: int | None = Field(None, description=BURST)


class Change(BaseModel):
    """What is to be changed of a key or a team; fields that are left out stay as they are."""

    model_config = ConfigDict(extra="forbid")

    models: list[str] | None = Field(None, description="Models or patterns such as whisper-*; null: all.")
    upstreams: list[str] | None = Field(None, description="Names of upstreams; null: all.")
    limits: list[LimitAsked] | None = Field(None, description="All limits that it is to have; null or []: none.")
    note: str | None = Field(None, description="A remark for operators, on one line.")


class TeamChange(Change):
    """What is to be changed of a team; fields that are left out stay as they are."""

    timezone: str | None = Field(
        None, description="Where its days and months begin; null: UTC.", examples=["Asia/Shanghai"]
    )


class NewTeam(TeamChange):
    """A team to be made."""

    name: str = Field(description="1 to 64 letters, digits, '.', '_' or '-'; cannot be changed.")


class KeyChange(Change):
    """What is to be changed of a key; fields that are left out stay as they are."""

    upstreams: list[str] | None = Field(None, description="Names of upstreams in the order of choice; null: all.")
    team: str | None = Field(None, description="The team that it belongs to; null: `default`.")
    ips: list[str] | None = Field(
        None,
        description="Addresses and networks (CIDR) that it may be used from; null: any.",
        examples=[["10.0.0.0/8"]],
    )
    expires: str | None = Field(None, description="From when on it is refused: a date or a time; null: never.")
    exact: bool | None = Field(
        None,
        description="Measure each upload before it is let in, so that no limit is ever exceeded; slower. Null: false.",
    )


class NewKey(KeyChange):
    """A key to be made."""

    name: str = Field(description="1 to 64 letters, digits, '.', '_' or '-'; cannot be changed.")


class Rotation(BaseModel):
    """How a secret is to be replaced."""

    model_config = ConfigDict(extra="forbid")

    overlap_seconds: int = Field(
        86_400, ge=0, le=30 * 86_400, description="So long the present secret stays good; 0: it ends at once."
    )
