"""The supported values of `format`, as patterns. Every text that fits a pattern has the format.

Not every text of a format fits: addresses have no quoted parts or international letters, times no leap seconds,
durations no months and years, IPv6 addresses all their parts.
"""

from __future__ import annotations

_MONTHS_AND_DAYS = r"(0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8])"
_YEAR = r"([1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_LEAP_YEAR = r"(\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DATE = rf"({_YEAR}-({_MONTHS_AND_DAYS})|{_LEAP_YEAR}-02-29)"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,22}[A-Za-z0-9])?"
_HOST = rf"({_LABEL}\.){{1,2}}[A-Za-z]{{2,12}}"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}"
_IN_PATH = r"A-Za-z0-9._~!$&'()*+,;=:@/-"
_CLOCK = r"(\d{1,4}H(\d{1,4}M)?(\d{1,4}S)?|\d{1,4}M(\d{1,4}S)?|\d{1,4}S)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

#: By name (RFC 3339, 4122, 5321, 1123, 3986, 2673, 4291).
FORMATS = {
    "date": rf"^{_DATE}$",
    "time": rf"^{_TIME}$",
    "date-time": rf"^{_DATE}T{_TIME}$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "email": rf"^{_ATOM}(\.{_ATOM})?@{_HOST}$",
    "hostname": rf"^{_HOST}$",
    "uri": rf"^[A-Za-z][A-Za-z0-9+.-]{{0,15}}://{_HOST}(:\d{{1,4}})?(/[{_IN_PATH}]{{0,80}})?(\?[{_IN_PATH}?]{{0,60}})?$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
    "ipv6": r"^([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}$",
    "duration": rf"^P(\d{{1,4}}W|\d{{1,4}}D(T{_CLOCK})?|T{_CLOCK})$",
}
