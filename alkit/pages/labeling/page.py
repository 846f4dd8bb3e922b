"""The labeling page: the chosen frames of a cycle in order, in a notebook or served."""

from pathlib import Path

import panel as pn
import param
from panel.custom import JSComponent

from alkit.data.imagefile import jpeg
from alkit.labeling.session import Held, Session
from alkit.loop.runs import Run
from alkit.loop.task import task
from alkit.pages import serving

QUALITY = 95  # of JPEG
RETRY = 2000  # milliseconds between two looks whether the answers are free
WIDE = {"sizing_mode": "stretch_width"}
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
        self._show(self._next(-1))

    def _finished(self) -> list:
        answers, positions = self._session.answers, self._session.task.positions
        return [p in answers and bool(answers[p].looked_at) for p in positions]

    def _next(self, index: int) -> int:
        """The next frame that is not finished, after this one if there is any."""
        done = self._finished()
        left = [k for k in range(len(done)) if not done[k]]
        return min(left, key=lambda k: (k <= index, k), default=min(index + 1, len(done) - 1))

    def _show(self, index: int):
        task = self._session.task
        position, record = task.positions[index], task.chosen[index]
        answer = self._session.answer(position)
        image = task.frames.images(position)
        scored, name = task.run.chooser(task.cycle).score, task.run.chooser_name(task.cycle)
        about = f"ranked by {record['ranked_by']:.3g} nats" if scored else f"chosen by {name}"
        self.param.update(
            done=self._finished(),
            frame={
                "index": index,
                "position": position,
                "name": str(task.frames.name[position]),
                "about": about,
                "image": jpeg(image, QUALITY),
                "width": image.shape[1],
                "height": image.shape[0],
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
        kind, positions = message["kind"], self._session.task.positions
        if kind == "open":
            if self._unsaved:
                raise ValueError(f"another frame is opened when this one is saved: {self._unsaved}")
            index = min(max(int(message["index"]), 0), len(positions) - 1)
            self._session.leave(self.frame["position"])
            self._show(index)
            return
        if kind not in ("keep", "finish"):
            raise ValueError(f"the page's message is of kind {kind!r}; keep, open or finish")
        position, finish = int(message["position"]), kind == "finish"
        self._session.keep(position, message["boxes"], finish or bool(message.get("looked_at")))
        if finish:
            self._show(self._next(positions.index(position)))
        self.done = self._finished()


def page(run: Run, cycle: int):
    """The labeling page of a cycle. In a notebook a page of the same kernel takes the place of an
    earlier one; a served page waits, and says for whom, while somebody else labels.

    Raises ValueError and RuntimeError where `Session` does, in a notebook Held too.
    """
    wanted = task(run, cycle)
    if not serving.served():
        pn.extension(inline=True)  # in a notebook too nothing comes from another host
        folder = run.cycle(cycle).resolve()
        if folder in _open:
            _open.pop(folder).close()
        _open[folder] = Session(wanted)
        return Canvas(_open[folder], **WIDE)
    place, document = pn.Column(**WIDE), pn.state.curdoc

    def begin():
        try:
            session = Session(wanted)
        except (Held, ValueError) as error:
            place[:] = [serving.notice(str(error))]
            return
        document.on_session_destroyed(lambda _: session.close())
        place[:] = [Canvas(session, **WIDE)]
        waiting.stop()

    waiting = pn.state.add_periodic_callback(begin, RETRY)
    begin()
    return place
