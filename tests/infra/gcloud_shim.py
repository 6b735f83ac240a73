"""Hands a gcloud command to gcloud_server.py and ends with its exit code."""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    command = {"argv": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd()}
    socket.send_fds(server, [json.dumps(command).encode()], [0, 1, 2])
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
