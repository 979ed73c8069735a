"""A real S3 server process (moto's), which counts the bytes that it sends and takes."""

import json
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

COUNT = {"requests": 0, "sent": 0, "taken": 0}
LOCK = threading.Lock()


def counting(app):
    def counted(environ, start_response):
        if environ["PATH_INFO"] == "/_count":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(COUNT).encode()]
        parts = list(app(environ, start_response))
        sent = 0 if environ["REQUEST_METHOD"] == "HEAD" else sum(map(len, parts))
        with LOCK:
            COUNT["requests"] += 1
            COUNT["sent"] += sent
            COUNT["taken"] += int(environ.get("CONTENT_LENGTH") or 0)
        return parts

    return counted


if __name__ == "__main__":
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", int(sys.argv[1]), counting(app), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
