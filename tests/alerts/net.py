"""Connections, for tests/alerts.sh. Each runs until it is ended.

    net.py gate PORT UPSTREAM    passes connections on; ended, it cuts them
    net.py hold PORT COUNT       keeps so many connections open, and opens one again that was closed
    net.py unsigned URL RATE     posts bodies without a signature, so many a second
"""

import json
import select
import socket
import sys
import threading
import time
import urllib.error
import urllib.request


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def gate(port, upstream):
    listener = socket.create_server(("127.0.0.1", int(port)))
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", int(upstream)))
        except OSError:
            client.close()
            continue
        for pair in ((client, server), (server, client)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def hold(port, count):
    held = []
    while True:
        ended, _, _ = select.select(held, [], [], 0)
        for one in ended:
            held.remove(one)
            one.close()
        while len(held) < int(count):
            try:
                held.append(socket.create_connection(("127.0.0.1", int(port)), timeout=1))
            except OSError:
                break
        time.sleep(0.2)


def unsigned(url, rate):
    number = 0
    while True:
        number += 1
        body = json.dumps({"type": "ContactCreate", "id": f"nobody{number}"}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except OSError:
            pass
        time.sleep(1 / float(rate))


{"gate": gate, "hold": hold, "unsigned": unsigned}[sys.argv[1]](*sys.argv[2:])
