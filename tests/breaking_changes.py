"""What of a .proto's next version breaks the clients of the one before (the proto's own rules).

Names count as much as numbers: clients in JSON, and generated code, know fields by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

_FIELD_TRAITS = ("number", "label", "type", "type_name", "proto3_optional", "json_name")
_METHOD_TRAITS = ("input_type", "output_type", "client_streaming", "server_streaming")


def breaking_changes(before: FileDescriptorProto, after: FileDescriptorProto) -> list[str]:
    """One line for each; none where whatever spoke `before` may go on."""
    return [
        *_differing("file", before, after, ("package", "syntax")),
        *_messages(before.package, before.message_type, after.message_type),
        *_enums(before.package, before.enum_type, after.enum_type),
        *_services(before.package, before.service, after.service),
    ]


def _messages(
    scope: str, before: Iterable[DescriptorProto], after: Iterable[DescriptorProto]
) -> Iterator[str]:
    found = {message.name: message for message in after}
    for message in before:
        name = f"{scope}.{message.name}"
        if message.name not in found:
            yield f"message {name} is gone"
            continue
        now = found[message.name]
        yield from _fields(name, message, now)
        yield from _messages(name, message.nested_type, now.nested_type)
        yield from _enums(name, message.enum_type, now.enum_type)


def _fields(name: str, before: DescriptorProto, after: DescriptorProto) -> Iterator[str]:
    found = {field.name: field for field in after.field}
    for field in before.field:
        if field.name not in found:
            yield f"field {name}.{field.name} is gone"
            continue
        now = found[field.name]
        yield from _differing(f"field {name}.{field.name}", field, now, _FIELD_TRAITS)
        if _choice_of(before, field) != _choice_of(after, now):
            yield f"field {name}.{field.name} moved in or out of a oneof"


def _choice_of(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """The name of the oneof that it is in, if any."""
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""


def _enums(
    scope: str, before: Iterable[EnumDescriptorProto], after: Iterable[EnumDescriptorProto]
) -> Iterator[str]:
    found = {enum.name: {value.name: value.number for value in enum.value} for enum in after}
    for enum in before:
        if enum.name not in found:
            yield f"enum {scope}.{enum.name} is gone"
            continue
        yield from _numbers(f"{scope}.{enum.name}", enum, found[enum.name])


def _numbers(name: str, before: EnumDescriptorProto, after: Mapping[str, int]) -> Iterator[str]:
    for value in before.value:
        if after.get(value.name) != value.number:
            yield f"value {name}.{value.name} = {value.number} is now {after.get(value.name)}"


def _services(
    scope: str, before: Iterable[ServiceDescriptorProto], after: Iterable[ServiceDescriptorProto]
) -> Iterator[str]:
    found = {service.name: {method.name: method for method in service.method} for service in after}
    for service in before:
        name = f"{scope}.{service.name}"
        if service.name not in found:
            yield f"service {name} is gone"
            continue
        for method in service.method:
            if method.name not in found[service.name]:
                yield f"method {name}.{method.name} is gone"
                continue
            now = found[service.name][method.name]
            yield from _differing(f"method {name}.{method.name}", method, now, _METHOD_TRAITS)


def _differing(what: str, before: object, after: object, traits: Iterable[str]) -> Iterator[str]:
    for trait in traits:
        old, new = getattr(before, trait), getattr(after, trait)
        if old != new:
            yield f"{what}: {trait} {old} is now {new}"
