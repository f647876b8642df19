"""Where an answer leads: OpenAPI links from a call that makes a resource to the calls that ask for it by its id."""

from collections.abc import Mapping, Sequence

from gateway.rules import Rule, json_path
from gateway.schemas import Schema


def add_links(operations: Sequence[tuple[Schema, Rule]]) -> None:
    """Link the answers that have a `Location`, and say at the parameters that take the id where it comes from."""
    for operation, rule in operations:
        if not rule.rest.location:
            continue
        links: Schema = {}
        for other, target in operations:
            if sources := _sources(rule, target):
                parameters = {path: f"$response.body#/{name}" for path, name in sources.items()}
                links[other["operationId"]] = {"operationId": other["operationId"], "parameters": parameters}
                _explain(other, operation, sources)
        operation["responses"][str(int(rule.success_status))]["links"] = links


def _sources(rule: Rule, target: Rule) -> Mapping[str, str]:
    """Each variable of the target's path, and the field of the answer that is called so; empty if one is missing."""
    answer = rule.rpc.output_type
    if not all(path in answer.fields_by_name for path in target.path.variables):
        return {}
    return {path: json_path(answer, path) for path in target.path.variables}


def _explain(operation: Schema, maker: Schema, sources: Mapping[str, str]) -> None:
    for parameter in operation["parameters"]:
        if name := sources.get(parameter["name"]):
            source = f"It is the `{name}` in the answer of `{maker['operationId']}`."
            parameter["description"] = f"{parameter['description']} {source}".strip()
