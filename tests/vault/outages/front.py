"""A TLS front for the name that is given: it passes on what comes to an address, or
leads there those who come, and ends with its standard input.
"""

import http.client
import http.server
import os
import ssl
import sys
import threading

folder, host, verb, target = sys.argv[1:]

ca_key, key = new_key(), new_key()
named = x509.SubjectAlternativeName([x509.DNSName(host)])
files = {
    "ca.pem": certificate("ca", ca_key, "ca", ca_key, IS_CA),
    "server.pem": certificate(host, key, "ca", ca_key, named),
    "server-key.pem": key_pem(key),
}
for file, content in files.items():
    with open(os.path.join(folder, file), "wb") as out:
        out.write(content)


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if verb == "lead":
            self.send_response(307)
            self.send_header("Location", target + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection(target.removeprefix("http://"))
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(folder, "server.pem"), os.path.join(folder, "server-key.pem"))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Front)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
