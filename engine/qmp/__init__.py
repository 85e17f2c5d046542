"""The QMP monitor's protocol, sans-IO.

Bytes of one client go in, validated requests and finished replies come out; nothing in this
package opens a socket, reads a clock or knows what a command does.

    framing         bytes -> JSON objects, bounded before they are decoded
    session         one client: greeting, negotiation, requests, replies, events
    schema          the mechanism: types, validation of arguments
    declared        the types that commands and events share
    commands        every command that is served
    events          every event that may be emitted
    introspection   the answers of query-qmp-schema, query-commands and query-events
    texts           every sentence a client may see
    errors          QmpError, and the constructors of its classes
"""
