"""A relay that notes when the first byte of each message came and when it answered the last."""

import re
import socket
import socketserver
import threading
import time

PIPELINED = b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 26214400\r\n250 ENHANCEDSTATUSCODES\r\n"


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, random):
        super().__init__(("127.0.0.1", 0), Session)
        self.random = random
        self.lock = threading.Lock()
        self.mails = []
        self.connections = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A daemon that was killed is no error of the relay's."""


class Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def say(self, line):
        self.wfile.write(line)

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
            self.connection_number = self.server.connections
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say(b"220 sink.example ESMTP\r\n")
        recipient = None
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say(PIPELINED)
            elif verb == b"RCPT":
                recipient = re.search(rb"<(.*?)>", line)[1].decode()
                self.say(b"250 2.1.5 Ok\r\n")
            elif verb == b"DATA":
                self.say(b"354 Go ahead\r\n")
                if not self.message(recipient):
                    return
            elif verb == b"QUIT":
                self.say(b"221 2.0.0 Bye\r\n")
                return
            else:
                self.say(b"250 2.0.0 Ok\r\n")

    def message(self, recipient):
        """Takes one message; false if the connection is to end."""
        mail = {"address": recipient, "connection": self.connection_number, "number": None, "code": None,
                "first_byte": None, "answering": None, "answered": None}
        for line in self.rfile:
            if mail["first_byte"] is None:
                mail["first_byte"] = time.time()
                with self.server.lock:
                    self.server.mails.append(mail)
            if mail["number"] is None and line.lower().startswith(b"x-invoice-number:"):
                mail["number"] = line.split(b":", 1)[1].strip().decode()
            if line == b".\r\n":
                break
        else:
            return False
        with self.server.lock:
            fate, delay = self.server.random.random(), self.server.random.random() * 0.03
        time.sleep(delay)
        if fate < 0.02:
            return False
        code, answer = (451, b"451 4.3.0 Later\r\n") if fate < 0.06 else (250, b"250 2.0.0 Taken\r\n")
        mail["answering"], mail["code"] = time.time(), code
        self.say(answer)
        mail["answered"] = time.time()
        return True
