"""A gateway that takes every SMS in LINK's protocol: `python -m bench.gateway --port N --numbers FILE` prints its port.

FILE gets the number of each receiver, one a line, before the answer: it outlives a kill.
"""

import argparse
import asyncio
import signal
from pathlib import Path
from xml.etree.ElementTree import fromstring

import uvloop
from aiohttp import web


async def _serve(port: int, numbers: Path) -> None:
    stop, taken = asyncio.Event(), numbers.open("ab", buffering=0)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def take(request: web.Request) -> web.Response:
        messages = fromstring(await request.read()).iter("MSG")  # noqa: S314 - of our own worker, on this machine
        found = [(m.findtext("ID"), m.findtext("RCV")) for m in messages]
        taken.write("".join(f"{receiver}\n" for _, receiver in found).encode())
        answers = "".join(f"<MSG><ID>{id_}</ID><REF>{to}</REF><STATUS>OK</STATUS></MSG>" for id_, to in found)
        answer = f"<SESSION><LOGON>OK</LOGON><MSGLST>{answers}</MSGLST></SESSION>"
        return web.Response(text=answer, content_type="text/xml")

    app = web.Application(client_max_size=1_000_000)
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--numbers", type=Path, required=True)
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, arguments.numbers))


if __name__ == "__main__":
    main()
