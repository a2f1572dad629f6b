"""A TLS upstream that answers with the pair that it was shown, and only if the head is exactly right.

    upstream.py FOLDER
"""

import http.server
import json
import pathlib
import ssl
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    """One `AppKey`, one bare `Authorization`, one `Host`, the one content type."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answers, and writes a line for the call."""
        self.rfile.read(int(self.headers["Content-Length"]))
        names = ["appkey", "authorization", "host", "content-type"]
        values = [self.headers.get_all(name) or [] for name in names]
        right = all(len(value) == 1 for value in values)
        right = right and values[3] == ["application/json;charset=utf-8"]
        body = {"seen": {"app-key": values[0][0], "authorization": values[1][0]}} if right else {"wrong": values}
        content = json.dumps(body).encode()
        with open(FOLDER / "seen", "a") as seen:
            seen.write("a call\n")
        self.send_response(200 if right else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing: it would show the pair."""


FOLDER = pathlib.Path(sys.argv[1])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
(FOLDER / "listening").touch()
server.serve_forever()
