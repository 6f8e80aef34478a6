"""The rules of a Render blueprint, as far as a service that runs Python code is concerned.

Transcribed by hand from the public reference (https://render.com/docs/blueprint-spec) and the pages
on free services and on environment variables, as they stood on 2026-11-25. A field that is not
here is refused: what we do not know we do not use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What a service on the free plan cannot have.
PAID = {"disk", "preDeployCommand", "scaling", "numInstances", "maxShutdownDelaySeconds"}
DEPRECATED = {
    "env": "runtime",
    "autoDeploy": "autoDeployTrigger",
    "pullRequestPreviewsEnabled": "previews",
    "previewPlan": "previews",
    "domain": "domains",
}
REQUIRED = {"type", "name", "runtime", "buildCommand", "startCommand"}
TEXTS = {"name", "repo", "branch", "rootDir", "buildCommand", "startCommand", "initialDeployHook"}
CHOICES = {
    "type": {"web", "pserv", "worker"},
    "runtime": {"python"},
    "plan": {"free", "starter", "standard", "pro", "pro plus", "pro max", "pro ultra"},
    "region": {"oregon", "ohio", "virginia", "frankfurt", "singapore"},
    "autoDeployTrigger": {"commit", "checksPass", "off"},
    "renderSubdomainPolicy": {"enabled", "disabled"},
}
OTHERS = {"healthCheckPath", "envVars", "domains", "buildFilter", "previews", "ipAllowList"}
# Only where there is a public address.
WEB_ONLY = {"healthCheckPath", "domains", "renderSubdomainPolicy"}

ROOT_FIELDS = {"services", "databases", "envVarGroups", "projects", "ungrouped", "previews"}
# Each variable comes from exactly one of these.
SOURCES = {"value", "generateValue", "sync", "fromDatabase", "fromService"}
# Set by the host itself; a value of ours would be lost, or break what it is for.
RESERVED = {"RENDER", "RENDER_EXTERNAL_HOSTNAME", "RENDER_EXTERNAL_URL", "IS_PULL_REQUEST"}
FULL_VERSION = re.compile(r"3\.\d+\.\d+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def faults(blueprint: object) -> Iterator[str]:
    """What the host would not take, or not take as it is meant. Nothing when all is well."""
    if not isinstance(blueprint, dict):
        yield "the file is no mapping"
        return
    yield from (f"{field}: no field of a blueprint" for field in blueprint.keys() - ROOT_FIELDS)
    services = blueprint.get("services")
    if not isinstance(services, list) or not services:
        yield "services: not a list with at least one service"
        return
    for service in services:
        if isinstance(service, dict):
            yield from _service(service)
        else:
            yield f"services: {service!r} is no mapping"
    names = [service.get("name") for service in services if isinstance(service, dict)]
    if len(set(names)) != len(names):
        yield "services: two have the same name"


def _service(service: dict[str, object]) -> Iterator[str]:
    known = REQUIRED | TEXTS | CHOICES.keys() | OTHERS | PAID
    for field in service:
        if field in DEPRECATED:
            yield f"{field}: deprecated, use {DEPRECATED[field]}"
        elif field not in known:
            yield f"{field}: no field of a service"
    yield from (f"{field}: is missing" for field in sorted(REQUIRED - service.keys()))
    for field, allowed in CHOICES.items():
        if field in service and service[field] not in allowed:
            yield f"{field}: {service[field]!r} is none of {', '.join(sorted(allowed))}"
    for field in TEXTS & service.keys():
        if not isinstance(service[field], str) or not service[field]:
            yield f"{field}: {service[field]!r} is no text"
    if service.get("plan") == "free":
        yield from (f"{field}: not on the free plan" for field in sorted(PAID & service.keys()))
        if service.get("type") != "web":
            yield f"plan: a {service.get('type')} cannot be free"
    if service.get("type") != "web":
        yield from (f"{field}: only of a web service" for field in WEB_ONLY & service.keys())
    path = service.get("healthCheckPath", "/")
    if not isinstance(path, str) or not path.startswith("/"):
        yield f"healthCheckPath: {path!r} does not begin with /"
    variables = service.get("envVars", [])
    if isinstance(variables, list):
        yield from _variables(variables)
    else:
        yield "envVars: no list"


def _variables(variables: list[object]) -> Iterator[str]:
    keys = []
    for variable in variables:
        if not isinstance(variable, dict):
            yield f"envVars: {variable!r} is no mapping"
        elif "fromGroup" in variable:
            if set(variable) != {"fromGroup"}:
                yield "envVars: fromGroup stands alone"
        else:
            keys.append(variable.get("key"))
            yield from _variable(variable)
    if len(set(keys)) != len(keys):
        yield "envVars: a key stands there twice"


def _variable(variable: dict[str, object]) -> Iterator[str]:
    key = variable.get("key")
    if not isinstance(key, str) or not VARIABLE.fullmatch(key):
        yield f"envVars: {key!r} is no name of a variable"
        return
    if key in RESERVED:
        yield f"{key}: set by the host"
    unknown = variable.keys() - SOURCES - {"key", "previewValue"}
    yield from (f"{key}: {field} is no field of a variable" for field in sorted(unknown))
    sources = SOURCES & variable.keys()
    if len(sources) != 1:
        yield f"{key}: has {len(sources)} sources, not one"
    # YAML reads true and 1 as something else than the text that a process gets.
    if "value" in variable and not isinstance(variable["value"], str):
        yield f"{key}: the value {variable['value']!r} is no text; put it in quotes"
    if variable.get("generateValue", True) is not True:
        yield f"{key}: generateValue is true or not there"
    if variable.get("sync", False) is not False:
        yield f"{key}: sync is false or not there"
    if key == "PYTHON_VERSION" and not FULL_VERSION.fullmatch(str(variable.get("value"))):
        yield f"{key}: {variable.get('value')!r} is not a whole version such as 3.11.9"
