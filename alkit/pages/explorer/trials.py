"""The part of the page that tries other numbers: sliders, and what they would have chosen."""

from html import escape

from alkit.pages.explorer import trying
from alkit.pages.explorer.controls import Controls
from alkit.pages.explorer.parts import words
from alkit.pages.explorer.reading import NotThere, Opened


class Trials:
    """The words under the sliders of a page; `tick` has to be called while it is `pending`."""

    def __init__(self, controls: Controls):
        self._controls, self._trial, self._told = controls, None, False
        self.words = words(name="trial")

    def open(self, opened: Opened):
        """Try on another cycle from now on."""
        self.close()
        self._opened, self._trial = opened, None

    def close(self):
        """Let the thread end."""
        if self._trial is not None:
            self._trial.stop()

    @property
    def progress(self) -> tuple[int, int] | None:
        """How many frames are computed, and of how many; None if none is being computed."""
        trial = self._trial
        return None if trial is None or trial.finished else (trial.done, trial.total)

    def say(self):
        """z of the frame that is shown with the sliders' numbers, and its rank among what is
        computed."""
        try:
            text = self._said(self._controls.numbers(), self._controls.position.value)
        except NotThere as error:
            text = str(error)
        self.words.value = escape(text)

    @property
    def pending(self) -> bool:
        """Whether something is being computed, or is and has not been said."""
        return self._trial is not None and not self._told

    def tick(self):
        """Say what has been computed meanwhile."""
        if self.pending:
            computing = self.progress is not None
            self.say()
            self._told = not computing

    def _said(self, wanted: trying.Numbers, position: int) -> str:
        own, opened = self._controls.own, self._opened
        if wanted == own:
            return "The sliders stand as in the run."
        if (wanted.radius, wanted.region) == (own.radius, own.region):
            return trying.sentence(opened, position, opened.table["z"].to_numpy(), wanted)
        if not opened.logits_give_score:
            raise NotThere("the stored logits do not give this strategy's score; try the rules")
        if self._trial is None or not self._trial.is_of(wanted):
            self.close()
            self._trial, self._told = trying.Trial(opened, wanted.radius, wanted.region), False
        if self._trial.error:
            raise NotThere(f"other frames cannot be computed: {self._trial.error}")
        if opened.row[position] >= 0:
            self._trial.of(position)
        return trying.sentence(opened, position, self._trial.z.copy(), wanted)
