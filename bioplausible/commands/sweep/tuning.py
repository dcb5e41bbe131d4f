"""A search that learns from what it sees, on Ray Tune: Bayesian with Optuna, hopeless candidates stopped by ASHA.

All that it remembers are the folders of its trials: a search that was killed is begun again and told what was found.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bioplausible.commands.sweep.on_ray import Countdown, on_ray, run_config, why
from bioplausible.commands.sweep.running import note_stopped
from bioplausible.commands.sweep.search import Candidate, candidate, candidates, epochs_of, known_candidate
from bioplausible.commands.sweep.seeds import Seeds, Step, last_accuracy, mean_curve
from bioplausible.commands.sweep.space import Distribution, Space
from bioplausible.commands.sweep.study import EarlyStopping, SearchStudy, StudyRecipe
from bioplausible.commands.sweep.trials import kind_of
from bioplausible.errors import UserError
from bioplausible.training.randomness import mix

METRIC: dict[str, Any] = {"metric": "accuracy", "mode": "max"}


def search(study: SearchStudy, cpus: int, address: str | None, out: Path, threads: int) -> dict[str, str]:
    """Tries what a study wants tried, one recipe after the other, and returns why candidates failed, by name.

    A candidate's seeds train at the same time.

    Args:
        study: the study.
        cpus: cores to use.
        address: of a Ray cluster; None: this machine.
        out: folder of the whole sweep.
        threads: threads of a seed's process.

    Raises:
        UserError: Ray or Optuna is not installed, no cluster answers, or a folder holds another search's trials.
    """
    known = candidates(study, out, threads)
    failures: dict[str, str] = {}
    for recipe in study.recipes:
        of_recipe = [one for one in known if one.recipe is recipe]
        past = [one for one in of_recipe if one.ended]
        again = [one for one in of_recipe if not one.ended]  # killed or failed, or, known beforehand, not begun
        numbers = {one.number for one in of_recipe}
        fresh = [number for number in range(study.trials_of(recipe)) if number not in numbers]
        if again or fresh:
            failures |= _search(study, recipe, past, again, fresh, cpus, address, out, threads)
    return failures


def _search(
    study: SearchStudy,
    recipe: StudyRecipe,
    past: Sequence[Candidate],
    again: Sequence[Candidate],
    fresh: Sequence[int],
    cpus: int,
    address: str | None,
    out: Path,
    threads: int,
) -> dict[str, str]:
    """Searches for one recipe: tries candidates once more, and draws the fresh ones."""
    kind, left = kind_of(recipe.path), len(again) + len(fresh)
    points = [{"number": one.number, "drawn": dict(one.drawn)} for one in again]

    epochs = epochs_of(known_candidate(study, recipe, 0, out, threads))

    def of(config: dict[str, Any]) -> Candidate:
        return candidate(study, recipe, config["point"]["number"], config["point"]["drawn"], out, threads)

    with on_ray(cpus, address, out):
        from ray import tune

        class Training(tune.Trainable):
            """Tune's view of a candidate: a result an epoch."""

            seeds: Seeds | None = None

            def step(self) -> dict[str, Any]:
                try:
                    if self.seeds is None:  # not in `setup`: Tune would forget whose start has failed
                        self.seeds = Seeds(of(self.config), epochs)
                    found = self.seeds.step()
                except (RuntimeError, UserError, OSError) as error:
                    found = Step(1, 0.0, ended=True, failure=str(error))
                return {"epoch": found.epoch, "accuracy": found.accuracy, "done": found.ended, "failure": found.failure}

            def cleanup(self) -> None:
                if self.seeds is not None:
                    self.seeds.stop()

        class Announce(tune.Callback):
            """Tells of each candidate that ends."""

            def __init__(self) -> None:
                self.countdown = Countdown(left)

            def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
                self.countdown.begin(trial.trial_id)

            def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
                found = trial.last_result or {}
                said = f"{found.get('accuracy', 0.0):.2%} after {found.get('epoch', 0)} epochs"
                said = said if found.get("epoch") == epochs else f"stopped at {said}"
                self.tell(trial, None if found.get("failure") else said)

            def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
                self.tell(trial, None)

            def tell(self, trial: Any, outcome: str | None) -> None:
                self.countdown.tell(trial.trial_id, f"{kind}/trial={trial.config['point']['number']}", outcome)

        options: dict[str, Any] = {}
        space: dict[str, Any] = {}
        if study.search.sampler == "bayesian":
            options |= {"search_alg": _bayesian(study, recipe.space, past, points, fresh), "num_samples": left}
        else:
            space = {"point": tune.grid_search(points)}
        if study.search.early_stopping is not None:
            options["scheduler"] = _halving(study.search.early_stopping, epochs, past, of)
        results = tune.Tuner(
            tune.with_resources(Training, {"cpu": min(cpus, threads * len(study.seeds))}),
            param_space=space,
            tune_config=tune.TuneConfig(**options),
            run_config=run_config(out, Announce()),
        ).fit()
    failures: dict[str, str] = {}
    for result in cast(Any, results):
        reason = why(result.error) if result.error else (result.metrics or {}).get("failure")
        if reason:
            # Tune forgets the config of what was killed before its first epoch
            point = (result.config or {}).get("point")
            failures[f"{kind}/trial={point['number']}" if point else f"{kind}, killed ({len(failures) + 1})"] = reason
    return failures


def _bayesian(
    study: SearchStudy, space: Space, past: Sequence[Candidate], points: Sequence[dict[str, Any]], fresh: Sequence[int]
) -> Any:
    """Returns Optuna's search for Tune, which knows what has been found, and tries ``points`` before it draws."""
    try:
        import optuna
    except ImportError as error:
        raise UserError("A bayesian search needs Optuna: pip install 'bioplausible[sweep]'.") from error
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    inner = OptunaSearch(
        space={name: _for_optuna(optuna, one) for name, one in space.distributions.items()},
        points_to_evaluate=[point["drawn"] for point in points],
        seed=mix(study.search.seed, len(past)) % 2**32,  # begun again it must not draw what it drew before
        **METRIC,
    )
    for one in past:
        inner.add_evaluated_point(dict(one.drawn), last_accuracy(one))

    class Numbered(Searcher):
        """Optuna's draws with the numbers of candidates."""

        def __init__(self) -> None:
            super().__init__(**METRIC)
            self.numbers = [*(point["number"] for point in points), *fresh]

        def suggest(self, trial_id: str) -> Any:
            if not self.numbers:
                return Searcher.FINISHED
            suggested = inner.suggest(trial_id) or {}
            drawn = {name: one.rounded(suggested[name]) for name, one in space.distributions.items()}
            return {"point": {"number": self.numbers.pop(0), "drawn": drawn}}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            inner.on_trial_result(trial_id, result)

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            inner.on_trial_complete(trial_id, result, error)

        def save(self, checkpoint_path: str) -> None:
            """Saves nothing: the trials' folders tell it all."""

        def restore(self, checkpoint_path: str) -> None:
            """Needs nothing."""

    return Numbered()


def _halving(rule: EarlyStopping, epochs: int, past: Sequence[Candidate], of: Callable[[Any], Candidate]) -> Any:
    """Returns ASHA, which stops what is worse than others were after as many epochs, and knows the past ones.

    Args:
        rule: the study's.
        epochs: how many a candidate trains.
        past: candidates that have ended.
        of: gives the candidate of Tune's configuration.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Halving(ASHAScheduler):
        """Notes where it stops a candidate, so that a search that is begun again doesn't go on with it."""

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            decision = str(super().on_trial_result(tune_controller, trial, result))
            if decision == TrialScheduler.STOP and not result.get("done"):
                for one in of(trial.config).trials:
                    note_stopped(one, result["epoch"])
            return decision

    halving = Halving(
        time_attr="epoch",
        max_t=epochs,
        grace_period=min(rule.grace_epochs, epochs),
        reduction_factor=rule.reduction_factor,
        **METRIC,
    )
    for one in past:
        seen = SimpleNamespace(trial_id=one.name)
        halving.on_trial_add(cast(Any, None), cast(Any, seen))
        for epoch, accuracy in enumerate(mean_curve(one)[:epochs], start=1):
            # its decision is of no use: the candidate has ended
            ASHAScheduler.on_trial_result(
                halving, cast(Any, None), cast(Any, seen), {"epoch": epoch, "accuracy": accuracy}
            )
    return halving


def _for_optuna(optuna: Any, one: Distribution) -> Any:
    if one.kind == "choice":  # among places: Optuna takes no lists for values
        return optuna.distributions.CategoricalDistribution(range(len(one.values)))
    if one.kind == "integer":
        return optuna.distributions.IntDistribution(one.low, one.high)
    return optuna.distributions.FloatDistribution(one.low, one.high, log=one.kind == "loguniform")
