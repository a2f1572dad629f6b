"""requests and httpx as clients of the proxy.

    client.py LIBRARY HOW URL FILE TIMES [NAME:VALUE]...

Prints one line of JSON per answer. Knows nothing of what is expected.
"""

import base64
import json
import sys
from pathlib import Path

TIMEOUT = 30  # seconds


def main():
    library, how, url, file, times, *headers = sys.argv[1:]
    headers = [tuple(header.split(":", 1)) for header in headers]
    with {"requests": with_requests, "httpx": with_httpx}[library]() as session:
        for _ in range(int(times)):
            report(send(library, session, how, url, Path(file), headers))


def with_requests():
    import requests

    session = requests.Session()
    session.trust_env = False  # no proxy and no .netrc from outside
    return session


def with_httpx():
    import httpx

    return httpx.Client(trust_env=False, timeout=TIMEOUT)


def send(library, session, how, url, file, headers):
    if how == "upload":
        body = {"files": {"file": (file.name, file.read_bytes())}}
    elif how == "form":
        # What a developer writes who takes `data=` for "the data".
        body = {"data": json.loads(file.read_text("utf-8"))}
    elif how == "remedied":
        body = {"json": json.loads(file.read_text("utf-8"))}
    else:
        content = {"bytes": file.read_bytes, "text": lambda: file.read_text("utf-8")}[how]()
        # Neither library sets a content type for these.
        body = {"data" if library == "requests" else "content": content}
    if library == "requests":
        # Takes a mapping that ignores case: of several spellings of one name the last is sent.
        return session.post(url, headers=dict(headers), timeout=TIMEOUT, **body)
    return session.post(url, headers=headers, **body)


def report(answer):
    print(
        json.dumps(
            {
                "status": answer.status_code,
                "content_type": answer.headers.get("content-type", ""),
                "request_id": answer.headers.get("x-request-id", ""),
                "proxy_status": answer.headers.get("proxy-status", ""),
                "body": base64.b64encode(answer.content).decode("ascii"),
            }
        )
    )


main()
