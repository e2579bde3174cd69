"""Price books: dated prices that a person edits, one YAML file in models_manifest/prices."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from bastide.schema.base import Name, Value

# YAML's numbers arrive as binary floats; pydantic makes decimals of their shortest text, which is
# what the file says, so no cent is lost up to 15 digits.
Money = Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
Amount = Annotated[Decimal, Field(ge=0, le=10**15, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)]


class _Price(Value):
    title: str = Field(description="What is bought, in words.", min_length=1)
    source: str = Field(description="Where the price is from: an address, or how it was found.")
    date: dt.date = Field(description="When the price was valid, such as 2026-11-22.")


class ApiPrice(_Price):
    """A service that is paid by token."""

    input_per_million: Money = Field(description="Price of a million tokens read.")
    output_per_million: Money = Field(
        default=Decimal(0), description="Price of a million tokens written."
    )


class GpuPrice(_Price):
    """A rented machine, paid by the hour whether it is busy or not."""

    per_hour: Money = Field(description="Price of one GPU (with its machine) for one hour.")


class MonthlyPrice(_Price):
    """A service that is paid by month."""

    per_month: Money = Field(description="Price of one month.")


class ServerPrice(_Price):
    """A machine of one's own."""

    purchase: Money = Field(description="Price of the machine.")
    years: Annotated[Decimal, Field(gt=0, le=50)] = Field(
        description="Years over which it is written off."
    )
    watts: Amount = Field(description="Electrical power on average, in watts.")
    pue: Annotated[Decimal, Field(ge=1, le=5)] = Field(
        description="Power usage effectiveness: power drawn for each watt that a machine uses."
    )
    kwh: Money = Field(description="Price of a kilowatt hour.")
    maintenance: Share = Field(description="Spare parts and support a year, share of the price.")
    hosting_per_month: Money = Field(description="Rack space and network a month.")
    staff_hours_per_month: Amount = Field(description="Hours of work a month for this machine.")
    staff_per_hour: Money = Field(description="Cost of an hour of work.")


class PriceBook(Value):
    """Prices on a date, in one currency. Edit a copy: the shipped ones are examples."""

    name: Name = Field(description="The book's name, which is its file's name too.")
    date: dt.date = Field(description="When the book was put together.")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        description="ISO 4217 code of the currency of every price."
    )
    example: bool = Field(
        default=False, description="Whether these are example prices, not a quotation."
    )
    api: dict[Name, ApiPrice] = Field(default={}, description="Services paid by token.")
    gpus: dict[Name, GpuPrice] = Field(default={}, description="Rented GPUs.")
    stores: dict[Name, MonthlyPrice] = Field(default={}, description="Hosted vector stores.")
    servers: dict[Name, ServerPrice] = Field(default={}, description="Machines to buy.")
