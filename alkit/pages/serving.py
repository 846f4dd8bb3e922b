"""Pages served to a browser: on loopback unless told otherwise."""

import socket
from html import escape

import panel as pn
from panel.io.location import Location
from panel.io.resources import LOCAL_DIST

LOOPBACK = "127.0.0.1"
PORT = 5006
FORGET = 1000  # milliseconds after which a page that was closed or reloaded is forgotten


def serve(make, title: str, port: int = PORT, address: str = LOOPBACK, query: str = ""):
    """Serve the page that `make()` makes for each browser tab, until interrupted; port 0 takes a
    free one. Prints the address. Raises RuntimeError for a port or an address that cannot be had.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            port = probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise RuntimeError(
            f"{address}:{port}: cannot be served there ({error}). Another program may use the "
            "port: choose another with --port, or --port 0 for any that is free"
        ) from None

    host = f"[{address}]" if ":" in address else address  # as URLs write IPv6

    def page():
        # without this word Panel's style sheets may be asked of another host
        pn.state.curdoc.template_variables["dist_url"] = LOCAL_DIST
        if host != address:  # nor does Panel's own look into a request
            pn.state._locations[pn.state.curdoc] = Location()
        return make()

    server = pn.serve(
        {"/": page},
        title={"/": title},
        port=port,
        address=address,
        show=False,
        start=False,
        verbose=False,
        websocket_origin=[f"{n}:{port}" for n in {"localhost", LOOPBACK, socket.gethostname()}],
        check_unused_sessions_milliseconds=FORGET,
        unused_session_lifetime_milliseconds=FORGET,
    )
    server._tornado.websocket_origins.add(f"{host}:{port}")  # Bokeh's list takes no IPv6
    server.start()
    print(f"{title}: http://{host}:{port}/{query}   (Ctrl-C ends it)", flush=True)
    server.run_until_shutdown()


def served() -> bool:
    """Whether a page is being made for a browser tab of a server, and not for a notebook."""
    return getattr(pn.state.curdoc, "session_context", None) is not None


def notice(text: str):
    """A page that says what is wrong; the text is shown as it is."""
    words = f"<pre style='white-space: pre-wrap'>{escape(text)}</pre>"
    return pn.pane.Alert(words, alert_type="warning", sizing_mode="stretch_width")
