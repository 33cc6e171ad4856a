"""An HTTP(S) server on a thread that answers what a case tells it to."""
import http.server
import socket
import threading
import traceback

NO_LENGTH = "no-length"  # a header that is not sent: the answer has no Content-Length either


class Answer:
    """What a server sends. Status 0 closes the connection instead."""

    def __init__(self, status, headers=None, body=b"", chunked=False):
        self.status, self.headers, self.body, self.chunked = status, dict(headers or {}), body, chunked


class Request:
    def __init__(self, method, full, headers, body):
        self.method, self.full, self.headers, self.body = method, full, headers, body
        self.path, _, self.query = full.partition("?")


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads a request whole, asks the server's `handle`, and writes the answer."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        server = self.server
        request = Request(self.command, self.path, self.headers, self.read_body())
        try:
            answer = server.answer_to(request)
        except Exception:  # the case is wrong: say so, and do not let a client hang
            traceback.print_exc()
            answer = Answer(500, {}, b"the case is wrong")
        server.log.append((self.command, self.path, self.headers.get("Authorization", ""), answer.status))
        if answer.status == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        if answer.chunked:
            answer.headers["Transfer-Encoding"] = "chunked"
        elif "Content-Length" not in answer.headers and NO_LENGTH not in answer.headers:
            answer.headers["Content-Length"] = str(len(answer.body))
        if NO_LENGTH in answer.headers:
            self.close_connection = True
        for key, value in answer.headers.items():
            if key != NO_LENGTH:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.write_body(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while True:
            length = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(length)
            self.rfile.readline()
            if length == 0:
                return body

    def write_body(self, answer):
        if not answer.chunked:
            self.wfile.write(answer.body)
            return
        for at in range(0, len(answer.body), 65536):
            part = answer.body[at:at + 65536]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def handle(self):
        try:
            # TLS on a plain port is answered as Go's server does it, by which clients know what they met.
            if not self.server.tls and self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
                self.connection.recv(65536)
                self.connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
                return
            super().handle()
        except OSError:
            pass  # the client went away

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """`handle(Request)` gives an Answer. `log` has (method, path with query, Authorization, status) of every request."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handle, host="127.0.0.1", tls=None, port=0):
        self.answer_to, self.tls, self.log = handle, tls, []
        super().__init__((host, port), Handler)
        self.address = "%s:%d" % (host, self.server_address[1])
        self.url = ("https://" if tls else "http://") + self.address
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client):
        """Shakes hands on the connection's own thread, so that a client that gives up holds up nobody."""
        if self.tls:
            try:
                request.settimeout(10)
                request = self.tls.wrap_socket(request, server_side=True)
                request.settimeout(60)
            except OSError as error:
                self.log.append(("TLS", str(error), "", 0))
                return
        super().finish_request(request, client)

    def handle_error(self, request, client_address):
        pass

    def close(self):
        self.shutdown()
        self.server_close()

    def __exit__(self, *_):
        self.close()
