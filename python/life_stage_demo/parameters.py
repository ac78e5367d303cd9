"""Parameters of the simulator, each with its source."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Parameters:
    """The simulated world. Shares and probabilities lie in [0, 1]; ages and gaps are in months."""

    # Families
    childless_share: float = 0.30  # users without a child; guess, experiments also use 0.04 and 0.5
    family_size_weights: tuple[float, ...] = (0.70, 0.23, 0.03)  # of 1, 2, 3 children among the others; guess
    # Births of the first child, in months after the first simulated month: edges and the share between them.
    # Calibrated on the stage shares of 911 labelled purchases (see category_shares.py): no stage dominates.
    birth_edges: tuple[int, ...] = (-84, -48, -24, -12, 0, 12, 24, 33)
    birth_shares: tuple[float, ...] = (0.07, 0.10, 0.14, 0.17, 0.20, 0.20, 0.12)
    sibling_gap_months: tuple[int, int] = (14, 60)  # between two births of a family; guess
    twin_share: float = 0.02  # of later births; guess

    # Registrations, the labels
    register_share: float = 0.80  # families that register at all; guess
    sibling_register_share: float = 0.95  # of a registering family's second and third child; guess
    registration_delay_months: float = 4.0  # mean, from six months before birth on; guess
    wrong_registration_share: float = (
        0.04  # birthdays that are not the child's; guess; 4.9 % are impossible in a public sample
    )
    absurd_birthday_share: float = 0.2  # of the wrong ones: the parent's own birthday; guess

    # Activity
    sessions_per_month: float = 3.0  # mean while a user is on; calibrated on 59 % empty user-months
    activity_shape: float = 0.8  # Gamma shape of the users' rates; guess
    on_to_off: float = 0.15  # monthly; guess, near the 71 % of one-month gaps between active months that
    # baby categories show in the public completejourney data
    off_to_on: float = 0.20  # monthly; guess, 57 % of users are on
    sessions_while_off: float = 0.03  # guess
    activity_without_child: float = 0.6  # relative rate of users without a child; guess
    # Relative rate, January to December. February calibrated on 72 % empty user-months (Chinese New Year),
    # November and the rest guess
    season: tuple[float, ...] = (0.95, 0.38, 1.0, 1.0, 1.0, 1.05, 0.95, 0.95, 1.0, 1.05, 1.6, 1.15)

    # Targets of sessions
    own_interest: float = 0.08  # weight of the household's own needs against 1 for a one-year-old; guess
    interest_ages: tuple[int, ...] = (-10, -9, -6, -3, 0, 24, 48, 84, 110)
    interest_weights: tuple[float, ...] = (0.0, 0.15, 0.5, 0.9, 1.0, 1.0, 0.75, 0.5, 0.1)  # at these; guess
    gift_share: float = 0.06  # sessions with a one-off gift; guess
    gift_ages: tuple[int, int] = (-2, 72)  # guess
    gift_spell_start: float = 0.02  # per month: a friend's child for some weeks; guess
    gift_spell_end: float = 0.5  # per month; guess
    gift_spell_share: float = 0.5  # of the sessions while it lasts; guess
    nephew_share: float = 0.12  # users with a nephew or niece; guess
    nephew_session_share: float = 0.10  # of their sessions; guess
    # A user's constant error, in log(age + 12): big and small children, parents who buy ahead; guess
    growth_spread: float = 0.08  # standard deviation

    # Actions of a session
    items_per_session: float = 7.0  # mean; guess
    session_shape: float = 1.2  # Gamma shape of the mean; guess
    focus_share: float = 0.70  # item views that stay in the session's leaf category; guess
    repeat_share: float = 0.20  # clicks that look at the previous item again; guess
    leaf_taste: float = 0.8  # standard deviation of a user's log taste per leaf category; guess
    brand_loyalty: float = 0.4  # chance that a user's favourite brand wins over another item; guess
    search_share: float = 0.40  # sessions that open with a search; guess
    bulk_share: float = 0.004  # sessions that buy in bulk; guess
    bulk_factor: int = 6  # times as many views in them; guess
    collect_share: float = 0.020  # of item actions; calibrated on 1-3 % in public action logs
    cart_share: float = 0.038  # of item actions; calibrated on 3.5-4.4 %
    purchase_share: float = 0.018  # of item actions; calibrated on 1.8 %

    # The catalogue
    n_items: int = 6000  # guess
    category_sharpness: float = 1.8  # exponent on the measured p(category | age); calibrated with leaf_sharpness
    leaf_sharpness: float = 0.85  # exponent on the leaves' age curves; calibrated: one purchase predicts 30-34 %
    household_share: float = 0.04  # sessions' leaves for a child that are ordinary household goods; guess
    sized_share: float = 0.7  # items of sized leaves that state their size; guess
    title_word_share: float = 0.10  # titles with an age word; calibrated on the design's 10 %
    property_age_share: float = 0.05  # items with an age property; guess
    range_decay: float = 0.20  # how fast demand falls outside an item's age range, in log(age + 12); guess
    range_floor: float = 0.10  # demand far outside it: presents, errors, stocks; guess
    search_word_share: float = 0.12  # searches with an age word; calibrated on the design's 12 %

    # Invalid rows
    dirty_share: float = 0.002  # added rows that the pipeline must reject; guess

    def as_dict(self) -> dict:
        """All parameters, for truth/parameters.json."""
        return asdict(self)
