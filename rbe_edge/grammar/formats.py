"""The values of `format` that are kept, as patterns. Every text that fits a pattern has the format.

Not every text of a format fits: addresses have no quoted parts or international letters, references to URIs and IRIs
are whole URIs, times have no leap seconds, durations no months and years, IPv6 addresses all their parts, networks one
address, regular expressions no groups. Other values of `format` restrict nothing, as JSON Schema says.
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
_CLOCK = r"(\d{1,4}H(\d{1,4}M(\d{1,4}S)?)?|\d{1,4}M(\d{1,4}S)?|\d{1,4}S)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-{version}[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
_EMAIL = rf"^{_ATOM}(\.{_ATOM})?@{_HOST}$"
_URI = rf"^[A-Za-z][A-Za-z0-9+.-]{{0,15}}://{_HOST}(:\d{{1,4}})?(/[{_IN_PATH}]{{0,80}})?(\?[{_IN_PATH}?]{{0,60}})?$"
_IPV4 = rf"{_BYTE}(\.{_BYTE}){{3}}"
_IPV6 = r"([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"
_POINTER = r"(/([^~/\x00-\x1f]|~[01]){0,40}){0,10}"

#: Of JSON Schema, by name (RFC 3339, 4122, 5321, 1123, 3986, 2673, 4291, 6570, 6901).
_OF_SCHEMAS = {
    "date": rf"^{_DATE}$",
    "time": rf"^{_TIME}$",
    "date-time": rf"^{_DATE}T{_TIME}$",
    "duration": rf"^P(\d{{1,4}}W|\d{{1,4}}D(T{_CLOCK})?|T{_CLOCK})$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    **dict.fromkeys(("email", "idn-email"), _EMAIL),
    **dict.fromkeys(("hostname", "idn-hostname"), rf"^{_HOST}$"),
    **dict.fromkeys(("uri", "uri-reference", "uri-template", "iri", "iri-reference"), _URI),
    "ipv4": f"^{_IPV4}$",
    "ipv6": f"^{_IPV6}$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": rf"^(0|[1-9]\d{{0,3}})(#|{_POINTER})$",
    "regex": r"^\^?(([A-Za-z0-9 _-]|\\[dDwWsS.]|\.)[*+?]?){0,60}\$?$",
}

#: Of pydantic, whose validators know them.
_OF_PYDANTIC = {
    **{f"uuid{version}": _UUID.replace("{version}", str(version)) for version in range(1, 9)},
    "base64": r"^([A-Za-z0-9+/]{4}){0,2000}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "base64url": r"^([A-Za-z0-9_-]{4}){0,2000}([A-Za-z0-9_-]{2}==|[A-Za-z0-9_-]{3}=)?$",
    "json-string": r'^(true|false|null|-?(0|[1-9]\d{0,9})|"[A-Za-z0-9 .,_-]{0,80}")$',
    "name-email": _EMAIL,
    "multi-host-uri": _URI,
    "ipvanyaddress": f"^({_IPV4}|{_IPV6})$",
    **dict.fromkeys(("ipv4network", "ipv4interface"), f"^{_IPV4}/32$"),
    **dict.fromkeys(("ipv6network", "ipv6interface"), f"^{_IPV6}/128$"),
    **dict.fromkeys(("ipvanynetwork", "ipvanyinterface"), f"^({_IPV4}/32|{_IPV6}/128)$"),
}

FORMATS = {**_OF_SCHEMAS, **_OF_PYDANTIC}
