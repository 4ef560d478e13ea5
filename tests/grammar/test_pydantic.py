"""Schemas as pydantic writes them: what is said under them is read by the model that they are of."""

from __future__ import annotations

import datetime
import ipaddress
import json
import random
import uuid
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from grammar_tools import Taker, some_text

pydantic = pytest.importorskip("pydantic")
jsonschema = pytest.importorskip("jsonschema")

from pydantic import BaseModel, ConfigDict, Field  # noqa: E402


class Colour(Enum):
    red = "red"
    green = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog", "hound"] = "dog"
    name: str = Field(min_length=1, max_length=20, pattern=r"^[A-Z][a-z\-' ]*$")
    friend: Cat | Dog | None = None


class Owner(BaseModel):
    """With a pet."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog] = Field(max_length=3)
    colour: Colour
    maybe: int | None
    mixed: Literal["a", 1, None, True]
    pair: tuple[int, str]
    scores: dict[str, float]
    by_colour: dict[Literal["x", "y"], int]
    by_name: dict[Annotated[str, Field(pattern="^[a-z]{1,4}$")], int]


class Times(BaseModel):
    day: datetime.date
    at: datetime.datetime
    clock: datetime.time
    took: datetime.timedelta
    key: uuid.UUID
    key4: pydantic.UUID4
    host: ipaddress.IPv4Address
    any_host: pydantic.IPvAnyAddress
    network: ipaddress.IPv4Network
    link: pydantic.AnyUrl
    price: Decimal = Field(max_digits=6, decimal_places=2)
    plain: Decimal
    secret: pydantic.SecretStr
    raw: bytes
    coded: pydantic.Base64Bytes


class Numbers(BaseModel):
    a: int = Field(gt=0, lt=10)
    b: float = Field(ge=-0.5, lt=0.75)
    c: int = Field(multiple_of=5, ge=10, le=100)
    d: float = Field(gt=0)
    e: pydantic.PositiveInt
    f: int = Field(ge=-(2**63), le=2**63 - 1)
    g: pydantic.conlist(int, min_length=2, max_length=4)  # type: ignore[valid-type]
    h: float = Field(multiple_of=0.5)


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    first_name: str = Field(alias="first name/~%")
    rest: Open | Tree | None = None


class Base(BaseModel):
    a: int


class Derived(Base):
    b: list[Base] | None
    c: Any = None
    d: object = None


MODELS = [Owner, Times, Numbers, Tree, Open, Closed, Derived, Dog]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_what_is_said_is_read(model: Any, mode: Any) -> None:
    schema = model.model_json_schema(mode=mode)
    taker = Taker(schema)
    judge = jsonschema.Draft202012Validator(schema)
    for seed in range(6):
        text = some_text(taker.compiled, random.Random(seed), 20 * seed)
        judge.validate(json.loads(text))
        if mode == "validation":
            model.model_validate_json(text)


def test_what_is_dumped_fits() -> None:
    owner = Owner(
        pet=Dog(kind="hound", name="Rex", friend=Cat(kind="cat", lives=9)),
        pets=[Cat(kind="cat", lives=1)],
        colour=Colour.green,
        maybe=None,
        mixed=True,
        pair=(1, "x"),
        scores={"a": 1.5},
        by_colour={"x": 1},
        by_name={"ab": 2},
    )
    assert Taker(Owner.model_json_schema()).takes(owner.model_dump_json())
    tree = Tree(value=1, children=[Tree(value=2), Tree(value=3, children=[Tree(value=4)])])
    assert Taker(Tree.model_json_schema()).takes(tree.model_dump_json())


def test_as_the_client_of_openai_makes_them_strict() -> None:
    to_strict = pytest.importorskip("openai.lib._pydantic").to_strict_json_schema
    for model in (Owner, Tree, Derived):
        taker = Taker(to_strict(model))
        for seed in range(3):
            model.model_validate_json(some_text(taker.compiled, random.Random(seed), 30))


#: As zod, TypeBox and OpenAPI documents have them.
OTHERS: dict[str, Any] = {
    "zod 3": {
        "$ref": "#/definitions/User",
        "definitions": {
            "User": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "role": {"type": "string", "enum": ["admin", "user"]},
                    "age": {"type": "integer", "exclusiveMinimum": 0},
                    "parent": {"anyOf": [{"$ref": "#/definitions/User"}, {"type": "null"}]},
                    "address": {"type": "object", "properties": {"zip": {"type": ["string", "number"]}},
                     "required": ["zip"]},
                    "billing": {"$ref": "#/definitions/User/properties/address"},
                    "tags": {"type": "array", "minItems": 1, "maxItems": 2, "items": [{"type": "string"},
                     {"type": "number"}]},
                },
                "required": ["id", "role", "parent", "billing"],
                "additionalProperties": False,
            }
        },
        "$schema": "http://json-schema.org/draft-07/schema#",
    },
    "zod 4": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
            "map": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
            "never": {"not": {}},
            "mail": {"type": "string", "format": "email", "pattern": "^[a-z.]+@[a-z.]+$"},
            "when": {"type": "string", "format": "date-time"},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
        },
        "required": ["n", "map", "mail"],
        "additionalProperties": False,
    },
    "TypeBox": {
        "type": "object",
        "allOf": [
            {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}},
            {"type": "object", "required": ["y"], "properties": {"y": {"anyOf": [{"const": "a", "type": "string"},
             {"type": "null"}]}}},
        ],
        "unevaluatedProperties": False,
    },
    "OpenAPI": {
        "type": "object",
        "properties": {
            "petType": {"type": "string", "nullable": True, "example": "cat", "xml": {"name": "p"}},
            "count": {"type": "integer", "format": "int64", "minimum": 0},
            "pet": {
                "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
                "discriminator": {
                    "propertyName": "kind",
                    "mapping": {"cat": "#/components/schemas/Cat", "dog": "#/components/schemas/Dog"},
                },
            },
        },
        "required": ["pet", "count"],
        "components": {
            "schemas": {
                "Cat": {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]},
                "Dog": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"properties": {"bark": {"type": "boolean"}},
                 "required": ["bark"]}]},
                "Pet": {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]},
            }
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_writers_of_schemas(name: str) -> None:
    schema = OTHERS[name]
    taker, judge = Taker(schema), jsonschema.validators.validator_for(schema)(schema)
    for seed in range(8):
        judge.validate(json.loads(some_text(taker.compiled, random.Random(seed), 15 * seed)))


def test_a_discriminator_says_which_it_is() -> None:
    taker = Taker(OTHERS["OpenAPI"])
    assert not taker.takes('{"petType": "cat", "pet": {"kind": "cat"}}')
    assert taker.takes('{"count": 1, "pet": {"kind": "dog", "bark": true}}')
    assert not taker.takes('{"count": 1, "pet": {"kind": "cow", "bark": true}}')
    assert not taker.takes('{"count": 1, "pet": {"kind": "cat", "bark": true}}')
