"""A candidate's seeds, trained at the same time and compared as one: their mean after each epoch."""

from dataclasses import dataclass, field
from statistics import fmean

from bioplausible.commands.sweep.running import Training, begin, outcome, validation_accuracies
from bioplausible.commands.sweep.search import Candidate


@dataclass(frozen=True)
class Step:
    """What a candidate came to.

    Attributes:
        epoch: epochs that all of its seeds have trained.
        accuracy: mean of their validation accuracies after it; 0 where one failed.
        ended: whether there is nothing left to train.
        failure: why one failed; nothing where none did.
    """

    epoch: int
    accuracy: float
    ended: bool = False
    failure: str = ""


@dataclass
class Seeds:
    """The processes of a candidate's seeds.

    Args:
        candidate: the candidate.
        epochs: how many each trains.
    """

    candidate: Candidate
    epochs: int
    epoch: int = 0
    running: list[Training] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            for trial in self.candidate.trials:
                training = begin(trial)
                if training is not None:
                    self.running.append(training)
        except BaseException:
            self.stop()
            raise

    def step(self) -> Step:
        """Waits until all seeds have trained another epoch, or have ended."""
        while True:
            failure = ""
            for training in list(self.running):
                if training.wait(0.5):
                    self.running.remove(training)
                    try:
                        training.conclude()
                    except RuntimeError as error:
                        failure = str(error)
            if failure:
                self.stop()  # without one of its seeds it can't be the best
                return Step(self.epoch + 1, 0.0, True, failure)
            if not self.running:
                ends = [found.stopped_after for found in map(outcome, self.candidate.trials) if found is not None]
                self.epoch = min(end or self.epochs for end in ends)  # another search may have stopped it
                return Step(self.epoch, last_accuracy(self.candidate), ended=True)
            found = mean_curve(self.candidate)
            if self.epoch < min(len(found), self.epochs - 1):  # of the last one its outcome tells
                self.epoch += 1
                return Step(self.epoch, found[self.epoch - 1])

    def stop(self) -> None:
        """Ends the processes, which leave checkpoints to go on from."""
        for training in self.running:
            training.terminate()
        while self.running:
            self.running = [training for training in self.running if not training.wait(0.5)]


def mean_curve(candidate: Candidate) -> list[float]:
    """Returns the mean over the seeds of the validation accuracy after each epoch that all of them have trained."""
    return [fmean(values) for values in zip(*map(validation_accuracies, candidate.trials), strict=False)]


def last_accuracy(candidate: Candidate) -> float:
    """Returns the mean over the seeds of the last epoch's validation accuracy, of a candidate that has ended."""
    return fmean(found.accuracy for found in map(outcome, candidate.trials) if found is not None)
