"""What schemathesis cannot read in the document: lines of JSON, and rules between two parts of a request."""

import json

import schemathesis

BUILT_IN = "email-validation"


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context, value):
    """A list as lines; what is no list, as negative cases have it, as the one line that it is."""
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@schemathesis.deserializer("application/x-ndjson")
def read_lines(_context, response):
    """Lines as a list."""
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Keeps valid requests valid."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if case.query:
        # A request has one credential, and the header has it already.
        case.query = {name: value for name, value in case.query.items() if name not in ("token", "ticket")}
    if isinstance(case.body, dict) and "report_id" in case.body and case.headers:
        # One request has one name: both may stand there, but not differ.
        case.headers.pop("Idempotency-Key", None)
    if case.operation.label == "POST /api/v1/jobs":
        is_input = case.media_type in ("text/plain", "text/csv") or isinstance(case.body, list)
        query = dict(case.query or {})
        # An input needs a kind that the server runs, and a body's own kind no other in the query.
        if is_input:
            query["kind"] = BUILT_IN
        else:
            query.pop("kind", None)
        case.query = query
