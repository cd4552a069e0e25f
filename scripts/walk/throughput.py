"""How many frames a second the built-in exchange hands to clients that keep up. Plain sockets; no package is needed.

    throughput.py TRAPLINE [--seconds 5] [--tape FILE ...]

Frames are counted by the envelope's end, which each has once. One line a case; with $TRAPLINE_FIGURES also one JSON
line for all of them in that folder's venue-throughput.jsonl."""
import argparse
import json
import os
import socket
import subprocess
import threading
import time

ask = argparse.ArgumentParser()
ask.add_argument("trapline")
ask.add_argument("--seconds", type=float, default=5.0)
ask.add_argument("--tape", action="append", default=[])
ask = ask.parse_args()


def masked(text):
    """A client's text frame; a mask of zeros is a mask."""
    data = text.encode()
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
    return head + b"\0\0\0\0" + data


class Reader:
    """One connection with its subscriptions; counts on a thread of its own."""

    def __init__(self, port, args):
        self.frames = self.bytes = 0
        self.ended = False
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.sendall(b"GET /v2/ws/public HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        while b"\r\n\r\n" not in self.socket.recv(4096):
            pass
        threading.Thread(target=self.read, daemon=True).start()
        for at in range(0, len(args), 20):
            self.socket.sendall(masked(json.dumps({"op": "subscribe", "args": args[at:at + 20]})))

    def read(self):
        space, left = bytearray(1 << 20), b""
        view = memoryview(space)
        while count := self.socket.recv_into(view):
            seen = left + bytes(view[:count])
            self.frames += seen.count(b'],"ts":')
            self.bytes += count
            # What may be the beginning of an end is looked at again.
            left = next((seen[-n:] for n in range(6, 0, -1) if b'],"ts":'.startswith(seen[-n:])), b"")
        self.ended = True


def measure(name, arguments, symbols, channels, connections):
    exchange = subprocess.Popen(
        [ask.trapline, "exchange", "--no-limits", "--quiet-account", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = int(exchange.stdout.readline().rsplit(":", 1)[1])
        args = [{"instType": "USDT-FUTURES", "channel": channel, "instId": symbol}
                for symbol in symbols for channel in channels]
        readers = [Reader(port, args[n::connections]) for n in range(connections)]
        tape = "--tape" in arguments
        time.sleep(0.0 if tape else 1.5)
        total = lambda: (sum(r.frames for r in readers), sum(r.bytes for r in readers))
        samples = [(time.time(), total())]
        while time.time() < samples[0][0] + ask.seconds:
            time.sleep(0.02)
            samples.append((time.time(), total()))
        if tape:
            # It begins when its first trades have come, and may end before the time is over.
            end = max((n for n in range(1, len(samples)) if samples[n][1][0] > samples[n - 1][1][0] + 100), default=1)
            begin = next((n for n in range(end) if samples[n][1][0] > 100), 0)
            samples = samples[begin:end + 1] if end > begin else samples[end - 1:end + 1]
        begun, first, last = *samples[0], samples[-1]
        took = max(last[0] - begun, 0.02)
        frames, octets = last[1][0] - first[0], last[1][1] - first[1]
        cpu = sum(int(n) for n in open(f"/proc/{exchange.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
        print(f"{name:<44} {frames / took:>10.0f} frames/s  of {frames:>9}  {octets / took / 1e6:>7.1f} MB/s"
              f"  exchange's CPU {cpu / os.sysconf('SC_CLK_TCK'):.1f} s", flush=True)
        return {"name": name, "frames_per_s": round(frames / took), "mb_per_s": round(octets / took / 1e6, 1)}
    finally:
        exchange.terminate()
        exchange.wait()


def names(count):
    """The symbols that `trapline exchange` calls so by itself."""
    known = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    return (known + [f"T{n:03}USDT" for n in range(count)])[:count]


few, many = names(40), names(600)
cases = [
    measure("firehose, ticker of 40 symbols", ["--firehose", "max", "--symbols", ",".join(few)], few, ["ticker"], 1),
    measure("seeded, 600 symbols, --speed max, ticker",
            ["--speed", "max", "--symbols", ",".join(many)], many, ["ticker"], 1),
    measure("seeded, 600 symbols, --speed max, ticker+trade",
            ["--speed", "max", "--symbols", ",".join(many)], many, ["ticker", "trade"], 2),
    measure("the same to 4 readers of everything", ["--speed", "max", "--symbols", ",".join(few)], few * 4,
            ["ticker", "trade"], 4),
]
for tape in ask.tape:
    cases.append(measure(f"tape {os.path.basename(tape)[:30]}, --speed max", ["--speed", "max", "--tape", tape],
                         ["BTCUSDT"], ["ticker", "trade"], 1))
if folder := os.environ.get("TRAPLINE_FIGURES"):
    os.makedirs(folder, exist_ok=True)
    line = {"row": "venue-throughput", "fault": "clients that keep up", "injected": 0, "detected": 0, "survived": 0,
            "escalated": 0, "detection_ms": [], "recovery_ms": [], "events": 0, "lost": 0, "duplicated": 0,
            "reordered": 0, "others_ratio": None, "more": {case["name"]: case["frames_per_s"] for case in cases}}
    with open(os.path.join(folder, "venue-throughput.jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
