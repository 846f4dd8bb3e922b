"""Pages served to a browser: on loopback unless told otherwise."""

import socket

import panel as pn

LOOPBACK = "127.0.0.1"
PORT = 5006
FORGET = 1000  # milliseconds after which a page that was closed or reloaded is forgotten


def serve(make, title: str, port: int = PORT, address: str = LOOPBACK, query: str = ""):
    """Serve the page that `make()` makes for each browser tab, until interrupted; port 0 takes a
    free one. Prints the address. Raises RuntimeError for a port or an address that cannot be had.
    """
    port = _free(address, port)
    names = {address, "localhost", LOOPBACK, socket.gethostname()}
    server = pn.serve(
        {"/": make}, title={"/": title}, port=port, address=address, show=False, start=False,
        websocket_origin=[f"{name}:{port}" for name in names],
        check_unused_sessions_milliseconds=FORGET, unused_session_lifetime_milliseconds=FORGET,
    )  # fmt: skip
    server.start()
    print(f"{title}: http://{address}:{port}/{query}   (Ctrl-C ends it)", flush=True)
    server.run_until_shutdown()


def _free(address: str, port: int) -> int:
    """The port, if it can be had."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise RuntimeError(
            f"{address}:{port}: cannot be served there ({error}). Another program may use the "
            "port: choose another with --port, or --port 0 for any that is free"
        ) from None
