"""A mail server for tests: keeps what it receives in the folder of the first argument.

Prints `port N`, then `mail FILE` for each mail. Answers by the recipient: `later@` 451, `never@` 550, `later-data@`
452 after the data, `slow@` nothing at all, `forgetful@` keeps the mail and never answers.
Options: `--port N`, `--host H`, `--tls CERT KEY` (at once), `--starttls CERT KEY`, `--login USER PASSWORD`.
"""

import argparse
import asyncio
import logging
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

logging.disable(logging.WARNING)
options = argparse.ArgumentParser()
options.add_argument("folder")
options.add_argument("--port", type=int, default=0)
options.add_argument("--host", default="127.0.0.1")
options.add_argument("--tls", nargs=2)
options.add_argument("--starttls", nargs=2)
options.add_argument("--login", nargs=2)
arguments = options.parse_args()


class Keep:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        who = address.split("@")[0]
        if who == "later":
            return "451 try later, %s" % address
        if who == "never":
            return "550 no mailbox <%s> here" % address
        if who == "slow":
            await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        (to,) = envelope.rcpt_tos
        who = to.split("@")[0]
        if who == "later-data":
            return "452 no room now"
        Keep.count += 1
        name = os.path.join(arguments.folder, "%d-%d.eml" % (os.getpid(), Keep.count))
        with open(name, "wb") as file:
            file.write(envelope.original_content)
        print("mail", name, flush=True)
        if who == "forgetful":
            await asyncio.sleep(3600)
        return "250 kept"


def context(pair):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*pair)
    return made


def check(server, session, envelope, mechanism, data):
    wanted = [word.encode() for word in arguments.login]
    return AuthResult(success=[data.login, data.password] == wanted, handled=False)


def session():
    more = {}
    if arguments.starttls:
        more = {"tls_context": context(arguments.starttls), "require_starttls": True}
    if arguments.login:
        # Over TLS at once, aiosmtpd does not know that it is encrypted.
        more |= {"authenticator": check, "auth_required": True, "auth_require_tls": bool(arguments.starttls)}
    return SMTP(Keep(), hostname="mail.test", **more)


async def main():
    loop = asyncio.get_running_loop()
    at_once = context(arguments.tls) if arguments.tls else None
    server = await loop.create_server(session, arguments.host, arguments.port, ssl=at_once)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    # Ends with the test, also where that was killed: its end of the pipe closes.
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
