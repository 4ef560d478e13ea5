"""What a wheel is made of, as CycloneDX 1.6 in JSON: this package, what lies in it, and what it declares to need.

CMake runs this file as a program when pip builds a wheel, where the package cannot be imported yet; `rbe build` imports
it. So it knows the standard library alone.

    python rbe_edge/building/sbom.py ROOT OUT
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: In the package, beside the modules.
NAME = "sbom.cdx.json"

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*?)\s*)?")
_EXTRAS_OF_WORK = ("test", "parity", "fuzz")  # nobody needs them to use the package


def bill(root: Path, package: Path) -> dict[str, Any]:
    """root: the folder of pyproject.toml and native/. package: that of the modules. The same files give the same
    bill."""
    project = _toml().loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    bundled = list(_bundled(root, package, project))
    declared = list(_declared(project))
    needed = [one["bom-ref"] for one in (*bundled, *declared) if one["scope"] == "required"]
    told: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "library", "bom-ref": own, "name": project["name"], "version": project["version"],
                "description": project["description"], "licenses": [{"license": {"id": "MIT"}}], "purl": own,
            },
        },
        "components": [*bundled, *declared],
        "dependencies": [{"ref": own, "dependsOn": sorted(needed)}],
    }  # fmt: skip
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(told, sort_keys=True))
    return {**told, "serialNumber": f"urn:uuid:{number}"}


def text(root: Path, package: Path) -> str:
    """bill() as the file holds it."""
    return json.dumps(bill(root, package), indent=1, sort_keys=True) + "\n"


def _bundled(root: Path, package: Path, project: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """What lies in the wheel besides Python. No source of others is in it; tables come from the Unicode database."""
    version = project["version"]
    mit = [{"license": {"id": "MIT"}}]
    yield {
        "type": "library", "bom-ref": f"librbe@{version}", "name": "librbe", "version": version, "scope": "required",
        "description": "the runtime in C, compiled from the sources in this wheel", "licenses": mit,
        "properties": [{"name": "rbe:links", "value": "the system's C library, mathematics and threads, dynamically"}],
    }  # fmt: skip
    demo = package / "demo" / "demo.rbe"
    yield {
        "type": "machine-learning-model", "bom-ref": "demo.rbe", "name": "demo.rbe", "version": version,
        "scope": "required", "description": "the embedded model, trained by tools/demo", "licenses": mit,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(demo.read_bytes()).hexdigest()}],
    }  # fmt: skip
    unicode = _unicode_version(root)
    yield {
        "type": "data", "bom-ref": f"unicode@{unicode}", "name": "Unicode Character Database", "version": unicode,
        "scope": "required", "description": "tables of librbe, written by tools/unicode_tables.py",
        "licenses": [{"license": {"id": "Unicode-3.0"}}],
    }  # fmt: skip


def _unicode_version(root: Path) -> str:
    for path in sorted((root / "native" / "src" / "text").rglob("*.[ch]")):
        with path.open(encoding="utf-8") as file:
            found = re.search(r"Unicode (\d+\.\d+\.\d+)", file.read(2000))
        if found:
            return found[1]
    raise SystemExit("native/src/text: no file names the version of Unicode that its tables are of")


def _declared(project: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """One component for each name: required where the package always needs it. Which version is installed is pip's
    choice, so the bill says the range."""
    groups = {"": project["dependencies"], **project.get("optional-dependencies", {})}
    seen: dict[str, dict[str, Any]] = {}
    for extra, requirements in groups.items():
        for requirement in requirements if extra not in _EXTRAS_OF_WORK else ():
            found = _REQUIREMENT.fullmatch(requirement)
            if found is None:
                raise SystemExit(f"pyproject.toml: {requirement!r} is no requirement")
            name = re.sub(r"[-_.]+", "-", found[1]).lower()
            component = seen.setdefault(
                name,
                {
                    "type": "library", "bom-ref": f"pkg:pypi/{name}", "name": name, "purl": f"pkg:pypi/{name}",
                    "scope": "optional" if extra else "required", "properties": [],
                },
            )  # fmt: skip
            told = f"{found[2]}{f'; {found[3]}' if found[3] else ''}{f' (extra {extra})' if extra else ''}"
            component["properties"].append({"name": "rbe:requirement", "value": told})
    return seen.values()


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    import tomli

    return tomli


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(text(Path(sys.argv[1]), Path(__file__).resolve().parents[1]), encoding="utf-8")
