"""The labelling page: the chosen frames of a cycle in order, in a notebook or served."""

from pathlib import Path

import panel as pn
import param
from panel.custom import JSComponent

from alkit.data.imagefile import jpeg
from alkit.labeling.session import Held, Session
from alkit.loop.runs import Run, open_run
from alkit.loop.task import Task, task
from alkit.pages import serving

QUALITY = 95  # of JPEG
RETRY = 2000  # milliseconds between two looks whether the answers are free
_open: dict = {}  # sessions of this process's notebooks, by folder


class Canvas(JSComponent):
    """The page in the browser: see canvas.js. `frame` is what is shown, `done` says of every frame
    whether it is finished, `reply` answers the page's last message."""

    classes = param.List()
    frame = param.Dict()
    done = param.List()
    reply = param.Dict({"n": 0, "problem": ""})

    _esm = Path(__file__).with_name("canvas.js")

    def __init__(self, session: Session, **params):
        self._session, self._unsaved = session, ""
        super().__init__(classes=list(session.task.classes), **params)
        self.show(self._first())

    def _first(self) -> int:
        """The first frame that is not finished."""
        done = self._done()
        return done.index(False) if False in done else 0

    def _done(self) -> list:
        answers = self._session.answers
        return [p in answers and bool(answers[p].looked_at) for p in self._positions]

    @property
    def _positions(self) -> list:
        return self._session.task.positions

    def show(self, index: int):
        """Show a frame."""
        task: Task = self._session.task
        position, record = task.positions[index], task.chosen[index]
        answer = self._session.answer(position)
        image = task.frames.images(position)
        height, width = image.shape[:2]
        scored = task.run.strategy.score is not None
        about = f"ranked by {record['ranked_by']:.4g} nats" if scored else "chosen at random"
        self.param.update(
            done=self._done(),
            frame={
                "key": f"{position} {index}",
                "index": index,
                "position": position,
                "name": str(task.frames.name[position]),
                "about": about,
                "image": jpeg(image, QUALITY),
                "width": width,
                "height": height,
                "boxes": answer.boxes,
                "looked_at": bool(answer.looked_at),
            },
        )
        self._session.begin()

    def _handle_msg(self, message: dict):
        problem = ""
        try:
            self._do(message)
        except KeyError as error:
            problem = f"the page's message lacks {error}"
        except (ValueError, OSError, TypeError, OverflowError) as error:
            problem = str(error)
        if message.get("kind") != "open":
            self._unsaved = problem
        self.reply = {"n": message.get("n", 0), "problem": problem}

    def _do(self, message: dict):
        kind = message["kind"]
        if kind == "open":
            if self._unsaved:
                raise ValueError(f"another frame is opened when this one is saved: {self._unsaved}")
            index = min(max(int(message["index"]), 0), len(self._positions) - 1)
            self._session.leave(self.frame["position"])
            self.show(index)
            return
        if kind not in ("keep", "finish"):
            raise ValueError(f"the page's message is of kind {kind!r}; keep, open or finish")
        position = int(message["position"])
        finished = kind == "finish" or bool(message.get("looked_at"))
        self._session.keep(position, message["boxes"], finished)
        if kind == "finish":
            self.show(self._next(self._positions.index(position)))
        else:
            self.done = self._done()

    def _next(self, index: int) -> int:
        """The next frame that is not finished, after this one if there is any."""
        done = self._done()
        later = [k for k in range(index + 1, len(done)) if not done[k]]
        earlier = [k for k in range(index) if not done[k]]
        return (later + earlier + [min(index + 1, len(done) - 1)])[0]


def page(run: str | Run, cycle: int):
    """The labelling page of a cycle. In a notebook a page of the same kernel takes the place of an
    earlier one; a served page waits, and says for whom, while somebody else labels.

    Raises ValueError and RuntimeError where `Session` does, in a notebook Held too.
    """
    run = run if isinstance(run, Run) else open_run(run)
    wanted = task(run, cycle)
    if not serving.served():
        pn.extension(inline=True)  # in a notebook too nothing comes from another host
        folder = run.cycle(cycle).resolve()
        if folder in _open:
            _open.pop(folder).close()
        _open[folder] = Session(wanted)
        return Canvas(_open[folder], sizing_mode="stretch_width")
    place = pn.Column(sizing_mode="stretch_width")
    document, live = pn.state.curdoc, {}

    def begin():
        try:
            session = Session(wanted)
        except (Held, ValueError) as error:
            place[:] = [serving.notice(str(error))]
            return
        live["session"] = session
        place[:] = [Canvas(session, sizing_mode="stretch_width")]
        if "waiting" in live:
            live.pop("waiting").stop()

    def end(_):
        if "session" in live:
            live["session"].close()
        if "waiting" in live:
            live["waiting"].stop()

    document.on_session_destroyed(end)
    begin()
    if "session" not in live:
        live["waiting"] = pn.state.add_periodic_callback(begin, RETRY)
    return place
