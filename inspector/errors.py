"""What can go wrong with starting or asking the inspector, each with its cause and its solution."""

from __future__ import annotations

from common.errors import StillhouseError


class InspectorError(StillhouseError):
    """The inspector could not start, or not do what was asked."""

    code = "inspector"


class InspectorMissing(InspectorError):
    """The packages that serve pages are not installed."""

    code = "inspector_missing"


class InspectorExposed(InspectorError):
    """It would be open to other machines without asking who comes."""

    code = "inspector_exposed"
    exit_code = 2


class AddressInUse(InspectorError):
    """Host and port cannot be listened on."""

    code = "address_in_use"


class HostUnknown(InspectorError):
    """The name to listen under is none of this machine's."""

    code = "host_unknown"


class BadQuestion(InspectorError):
    """An address or a form holds what the page does not know."""

    code = "bad_question"


class InspectorFault(InspectorError):
    """A page failed in a way that nobody foresaw."""

    code = "inspector_fault"
