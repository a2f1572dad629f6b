"""Calls without a pause over kept connections until its standard input ends; then prints what came.

    load.py BASE_URL CONNECTIONS [SIZE]

With a size of the bodies each call has a connection of its own.
A process of its own, because it is run inside a pod's network namespace.
"""

import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

PATH = "/api/sms/v3/msg/send"


def main(base_url, connections, size=0):
    """Runs the connections, and prints one line of JSON."""
    address = urllib.parse.urlsplit(base_url)
    ended, answers, slowest = threading.Event(), collections.Counter(), [0.0]

    def call(number):
        connection, count = http.client.HTTPConnection(address.hostname, address.port, timeout=60), 0
        while not ended.is_set():
            count += 1
            # Each message only once: the sandbox counts those that it is sent twice.
            body = json.dumps({"mobile": "8613800000000", "msg": f"{number}-{count}".ljust(size)})
            began = time.monotonic()
            try:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read().decode()
                if size:
                    connection.close()
                answers["200" if answer.status == 200 else f"{answer.status} {text}"] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                answers[repr(error)] += 1
            slowest[0] = max(slowest[0], time.monotonic() - began)

    threads = [threading.Thread(target=call, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"answers": answers, "slowest_ms": round(slowest[0] * 1000)}))


main(sys.argv[1], *map(int, sys.argv[2:]))
