"""Answers of recommended items, from a published set; `life-stage recommend` prints one.

Nothing but the set is read, so a run that holds the warehouse delays no answer.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from pathlib import Path
from uuid import uuid4

from life_stage.engine.pseudonyms import key_mark, pseudonym
from life_stage.paths import SERVING, read_manifest
from life_stage_checkout.request_log import Log, RequestLog
from life_stage_checkout.serving import Recommendation, Recommender, tables_of


@dataclass(frozen=True)
class Answer:
    """Recommended items, best first, with what they rest on.

    answer_id: to be kept with what is shown; month: first day of the month of the features; as_of: last day of the
    actions that they come from; run_id: run that published them; model: of the ranking; is_known_user: the user has
    features, and consent to the purpose of the question; arms: `treatment` or `control` by online experiment, as in
    experiment_arms, of any user. What an arm is shown is up to the shop.
    """

    answer_id: str
    month: str
    as_of: str
    run_id: str
    model: str
    is_known_user: bool
    arms: dict[str, str]
    items: list[Recommendation]


@dataclass(frozen=True)
class PublishedSet:
    """A published set in memory. Thread-safe.

    folder: of the set; key: of the pseudonyms in it, empty for ids as the shop knows them; consents: users by purpose;
    experiments: share (0 to 1) of the users in treatment, by name.
    """

    folder: Path
    run_id: str
    recommender: Recommender
    consents: dict[str, set[str]]
    experiments: dict[str, float]
    key: bytes = b""

    @classmethod
    def load(cls, link: Path, key: bytes = b"", requests: RequestLog | None = None) -> "PublishedSet":
        """The set that the link names, whose requests are logged.

        Raises ValueError LS-CHK-004 if nothing is published, or no checkout, LS-PRI-004 for another key than that of
        the set, and as Recommender.load.
        """
        folder = link.resolve()
        manifest = read_manifest(folder)
        if manifest is None:
            raise ValueError(f"LS-CHK-004 nothing is published as {link}: run the job")
        with tables_of(folder) as tables:
            consents = defaultdict(set)
            for user, purpose in tables("user_consents").project("user_id, purpose").fetchall():
                consents[purpose].add(user)
            is_there = (folder / SERVING / "experiments.parquet").exists()  # not in sets of 0.1
            columns = "experiment, treated_share"
            experiments = dict(tables("experiments").project(columns).fetchall() if is_there else ())
        if (mark := manifest.get("id_key", "")) != key_mark(key):
            wrong = "pseudonyms of another key" if key and mark else "pseudonyms" if mark else "no pseudonyms"
            raise ValueError(f"LS-PRI-004 the published user ids are {wrong}: set LIFE_STAGE_ID_KEY as for the job")
        recommender = Recommender.load(folder, log=requests)
        return cls(folder, manifest["run_id"], recommender, dict(consents), experiments, key)

    @property
    def as_of(self) -> date:
        """The last day of the actions that the features come from."""
        return self.recommender.index.first_day - timedelta(days=1)

    def answer(
        self,
        cart: Sequence[str] = (),
        user: str | int | None = None,
        n: int = 10,
        visit: Sequence[str] = (),
        exclude: Collection[str] = (),
        in_stock: Collection[str] | None = None,
        categories: Collection[str] | None = None,
        min_price: float | None = None,
        max_price: float | None = None,
        purpose: str | None = None,
        placement: str = "checkout",
        log: Log | None = None,
    ) -> Answer:
        """Recommended items, as in recommend(); in_stock: the only items to recommend. Ids may be whole numbers.

        user: as the shop knows it, or as in the published tables. Without consent to the purpose it is answered as an
        unknown user. log: of ANSWERS, with the placement of the items.
        """
        user = self.user_of(user)
        known = self.known(user, purpose)
        found = self.recommender.recommend(
            cart,
            known,
            n,
            visit=visit,
            exclude=exclude,
            among=in_stock,
            categories=categories,
            min_price=min_price,
            max_price=max_price,
        )
        index = self.recommender.used_for(cart).index
        answer = Answer(
            uuid4().hex,
            f"{index.first_day}",
            f"{self.as_of}",
            self.run_id,
            index.weights["model"],
            known is not None,
            self.arms_of(user),
            found,
        )
        if log is not None:
            now, shown_user = datetime.now(UTC), known if self.key else None
            log.extend(
                (
                    answer.answer_id,
                    now,
                    placement,
                    shown_user,
                    answer.model,
                    rank,
                    item.item_id,
                    item.probability,
                    item.reason,
                )
                for rank, item in enumerate(found, 1)
            )
        return answer

    def user_of(self, user: str | int | None) -> str | None:
        """The user's id in the set; under a key a pseudonym of the set is accepted too."""
        if user is None or not (given := str(user).strip()):
            return None
        is_pseudonym = self.key and self.recommender.index.shoppers.knows(given)
        return pseudonym(self.key, given) if self.key and not is_pseudonym else given

    def known(self, user: str | None, purpose: str | None) -> str | None:
        """The user, by its id in the set; None if it has no features, or no consent to the purpose."""
        is_consented = purpose is None or user in self.consents.get(purpose, ())
        return user if is_consented and self.recommender.index.shoppers.knows(user) else None

    def arms_of(self, user: str | None) -> dict[str, str]:
        """The user's arm in each experiment, as in experiment_arms."""
        shares = self.experiments if user else {}
        return {
            name: "treatment" if hash_share(f"{name} {user}") < treated_share else "control"
            for name, treated_share in shares.items()
        }


def hash_share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone; as macro hash_share."""
    return int(md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16) / 2**32
