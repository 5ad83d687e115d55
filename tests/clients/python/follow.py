"""Follows a stream with one of Python's SSE clients, and prints what it saw, a JSON object a line (../recorder.mjs).

    python follow.py --client NAME --url URL

Two of them come back by themselves; around the others stands what their documentation leaves to the program: a loop
that comes back with the last id after as long as the server asked for, and that ends with 204 or at a terminal status.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time

TERMINAL_STATES = ["completed", "failed", "cancelled"]

# Above the 30 seconds after which the server sends a heartbeat.
SILENCE_SECONDS = 45

# Before the server has asked for anything else.
RETRY_SECONDS = 3.0


class Over(Exception):
    """The job has ended."""


def put(**line):
    print(json.dumps(line), flush=True)


def put_event(name, data, last_id):
    """Prints an event; whether it is the job's last status."""
    try:
        payload = {"data": json.loads(data)}
    except ValueError:
        payload = {"raw": data}
    put(type=name, **payload, id=last_id)
    return name == "status" and payload.get("data", {}).get("status") in TERMINAL_STATES


def follow_again_and_again(connect):
    """Comes back with the last id. `connect(headers)` yields a status code, and then events."""
    last_id, retry = "", RETRY_SECONDS
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            answer = connect(headers)
            status = next(answer)
            if status == 204:
                put(type="error", source="client", status=204, readyState=2)
                return
            if status == 200:
                put(type="open")
            for event in answer:
                last_id = event.id or last_id
                if event.retry is not None:
                    retry = int(event.retry) / 1000
                if put_event(event.event, event.data, last_id):
                    return
            put(type="error", source="client", status=status, readyState=0)
        except IOError as error:
            # What `requests` raises; the errors of `httpx` are made ones below.
            put(type="error", source="client", message=repr(error), readyState=0)
        time.sleep(retry)


def httpx_sse(url):
    import httpx
    from httpx_sse import connect_sse

    timeout = httpx.Timeout(5, read=SILENCE_SECONDS)
    with httpx.Client(timeout=timeout, trust_env=False) as client:

        def connect(headers):
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    yield source.response.status_code
                    if source.response.status_code == 200:
                        yield from source.iter_sse()
            except httpx.TransportError as error:
                raise IOError(repr(error)) from error

        follow_again_and_again(connect)


def sseclient_py(url):
    import requests
    import sseclient

    def connect(headers):
        headers = {"Accept": "text/event-stream", **headers}
        with requests.get(url, stream=True, headers=headers, timeout=SILENCE_SECONDS) as response:
            yield response.status_code
            if response.status_code == 200:
                yield from sseclient.SSEClient(response).events()

    follow_again_and_again(connect)


def requests_sse(url):
    from requests_sse import EventSource, InvalidStatusCodeError

    try:
        with EventSource(url, timeout=SILENCE_SECONDS, on_open=lambda: put(type="open")) as source:
            for event in source:
                put_event(event.type, event.data, event.last_event_id)
    except InvalidStatusCodeError as error:
        put(type="error", source="client", status=error.status_code, readyState=2)


def aiohttp_sse_client2(url):
    import aiohttp
    from aiohttp_sse_client2.client import EventSource

    async def follow():
        last_id, retry = "", RETRY_SECONDS
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS)
        while True:
            headers = {"Last-Event-Id": last_id} if last_id else {}
            try:
                source = EventSource(url, headers=headers, timeout=timeout, on_open=lambda: put(type="open"))
                async with source:
                    async for event in source:
                        last_id = event.last_event_id or last_id
                        put_event(event.type or "message", event.data, last_id)
            except ConnectionAbortedError as error:
                # Every status but 200 that is none of an error.
                put(type="error", source="client", message=error.args[0], status=204, readyState=2)
                return
            except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
                put(type="error", source="client", message=repr(error), readyState=0)
            await asyncio.sleep(retry)

    asyncio.run(follow())


CLIENTS = {
    "aiohttp-sse-client2": aiohttp_sse_client2,
    "httpx-sse": httpx_sse,
    "requests-sse": requests_sse,
    "sseclient-py": sseclient_py,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    CLIENTS[options.client](options.url)
    put(type="closed")
