"""The waits that a person has to know, in `catalogue.DEADLINES`, as they hold for the processes that run."""

import importlib
from collections.abc import Mapping

from catalogue import DEADLINES

# By part: the module and the class of its settings. Like the programs, they are known by name alone: importing them is
# costly, and of no use before the system is complete.
_SETTINGS = {
    "order": ("services.order.settings", "OrderSettings"),
    "payment": ("services.payment.settings", "PaymentSettings"),
    "card-network": ("infra.card_network.settings", "CardNetworkSettings"),
}


def waits(environments: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """Each wait in seconds, by the name of its setting.

    Args:
        environments: what each part was started with, by its name; what is not there is the setting's default.
    """
    return {
        name: float(environments[part].get(name, _default(part, name)))
        for part, names in DEADLINES.items()
        for name in names
    }


def _default(part: str, name: str) -> float:
    module, settings = _SETTINGS[part]
    return getattr(importlib.import_module(module), settings).model_fields[name.lower()].default
