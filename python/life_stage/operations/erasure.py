"""Erasure of users, on request or without consent: their rows leave every table and every published file."""

import glob
import json
import os
from datetime import date, timedelta

import duckdb

from life_stage import paths
from life_stage.engine import run_log
from life_stage.engine.ledger import Entry, Ledger, ledger_of
from life_stage.operations import Warehouse
from life_stage.operations.backup import copies_there
from life_stage.operations.erased_files import remove_spilled, rewrite, search_published, unpublish
from life_stage.paths import sql_literal
from life_stage.publishing import write_mark
from life_stage.training.retraining import log_progress

USERS = "users_to_erase"  # a temporary table, because their ids must not stay on disk
THEIRS = f"user_id::varchar in (select user_id from {USERS})"
ACCEPTED_SHARE = 0.1  # of users; the default of consents_max_withdrawn_share
VALID = "reasons is null and not is_duplicate"
BEFORE = "nothing was deleted yet: remove the cause and repeat the command"
AFTER = "their rows are deleted, but old copies may remain: remove the cause and repeat life-stage erase"
TOMBSTONE = """
    insert into erased_users select user_digest, salt, erased_at::timestamp
    from (values (?, ?, ?)) as erased (user_digest, salt, erased_at)
    where user_digest not in (select user_digest from erased_users)
"""
REASONS = {"erased": "user_erased", "without consent": "no_consent"}  # of rejection, by kind of a ledger's entry
COUNTS = f"""
    select month, count(*) filter (where {VALID}) as n_actions, count(*) filter (where reasons is null) as n_rejected,
        count(*) filter (where is_duplicate) as n_duplicates
    from stg_action_rows where {THEIRS} group by month
"""
HASHES = f"""
    insert into erased_action_hashes
    select month, {{action_hash}}, max(acted_on) filter (where {VALID}) from stg_action_rows where {THEIRS}
    group by month having count(*) filter (where {VALID}) > 0
"""
UNCOUNT = """
    update {table} as counts set n_actions = counts.n_actions - erased.n_actions,
        n_rejected = counts.n_rejected + erased.n_rejected, n_duplicates = counts.n_duplicates - erased.n_duplicates
    from ({counts}) as erased where counts.month = erased.month
"""
REJECT = f"""
    insert into stg_action_rows (month, source_file, is_duplicate, reasons)
    select month, source_file, false, ? from stg_action_rows where {THEIRS}
"""
UNUSED_TERMS = """
    delete from search_terms as terms where month in (select month from stg_action_rows) and not exists (
        select 1 from stg_action_rows as actions
        where actions.month = terms.month and actions.search_term = terms.search_term
    )
"""
UNUSED_TEXTS = """
    delete from text_ages where text not in (select search_term from search_terms)
    and text not in (select title from stg_item_rows where title is not null)
"""


def erase(warehouse: Warehouse, users: list[str], cleaned: str, stored: str) -> None:
    """Erase users for good: tombstones keep them from being staged again, and no freed block holds their rows.

    cleaned, stored: SQL of an id as text, and as in the tables. With a key a pseudonym from a table is accepted too.
    Tombstones are digests of ids in tables, because digests of plain ids can be guessed. Raises ValueError LS-ERA-001
    without an id, LS-ERA-002 with all places where a file cannot be replaced or a user is still found, LS-ERA-003 if
    there is nothing to search.
    """
    session = warehouse.session
    if not warehouse.tables_with("user_id"):
        raise ValueError(
            f"LS-ERA-003 {warehouse.path} has no table of users: set LIFE_STAGE_WAREHOUSE as for the job; nobody was"
            " erased"
        )
    apply_ledger(warehouse)
    session.execute("create temp table given_users as select unnest(?::varchar[]) as user_id", [users])
    named = f"select {stored} as user_id from given_users"
    if stored != cleaned:  # with a key
        known = f"select user_id from ({users_of(warehouse)})"
        named += f" union all {known} where user_id in (select {cleaned} from given_users)"
    named = f"select distinct user_id from ({named}) where user_id is not null"
    session.execute(f"create or replace temp table {USERS} as {named}")
    if warehouse.values(f"select count(*) from {USERS}") == [0]:
        raise ValueError("LS-ERA-001 no user was given: name at least one id; nothing was changed")
    entries = enter(warehouse, "erased")
    n_known = erase_rows(warehouse, "erased", entries, {"ledger": ledger_of(warehouse.path).mark()})
    print(f"erased {n_known} of" if n_known else "not found, but excluded from now on:", len(users), "users")
    if copies := copies_there(warehouse.path):
        print(f"older copies, which may hold them: {', '.join(map(str, copies))}: delete these files")
    leave_no_trace(warehouse, has_published(warehouse))


def leave_no_trace(warehouse: Warehouse, is_published: bool) -> None:
    """Rewrite the warehouse without freed blocks, and search it and the published files for the users of USERS.

    is_published: there have to be published files. Nothing is stored after it. Raises ValueError LS-ERA-002 with all
    places where this fails or a user is found.
    """
    session, link = warehouse.session, paths.published()
    steps = {
        "warehouse": lambda: rewrite(session, warehouse.path, USERS),
        "spilled rows": lambda: remove_spilled(warehouse.path),
        "published files": lambda: search_published(session, link, USERS, is_published),
    }
    done, faults = {}, []
    for place, step in steps.items():
        try:
            done[place] = step()
        except (OSError, ValueError, duckdb.Error) as error:
            faults.append(f"{place}: {error}")
    if faults:
        raise ValueError(f"LS-ERA-002 {'; '.join(faults)}: {AFTER}")
    print(f"searched and not found: {done['warehouse']} tables of the project, {done['published files']} files")


def has_published(warehouse: Warehouse) -> bool:
    """True if a run has published files."""
    return warehouse.has("published_marts") and warehouse.values("select count(*) from published_marts") != [0]


def erase_without_consent(warehouse: Warehouse, consenting: str, purpose: str, max_share: float, today: str) -> None:
    """Erase the users whose consent was revoked since the last run; consenting: SQL of all users with consent.

    Raises ValueError LS-CON-001 if they are more than max_share, with those of the 30 days before today (YYYY-MM-DD):
    an incomplete file looks like many revocations, also one that loses some users every day.
    """
    session = warehouse.session
    warehouse.read_source(f"create temp table consenting_users as {consenting}")
    sql = "select coalesce(sum(hash(user_id)::hugeint)::varchar, 'nobody') from consenting_users"
    (consents,) = warehouse.values(sql)
    if warehouse.recorded("consents") == consents:
        return
    known = f"select distinct user_id from ({users_of(warehouse)}) where user_id is not null"
    revoked = f"{known} and user_id not in (select user_id from consenting_users)"
    session.execute(f"create or replace temp table {USERS} as {revoked}")
    (n_known,), (n_revoked,) = (warehouse.values(f"select count(*) from ({rows})") for rows in (known, f"from {USERS}"))
    recent = recent_revocations(warehouse, today)
    n_before = sum(recent.values())
    if n_revoked and n_revoked + n_before > max_share * (n_known + n_before):
        raise ValueError(
            f"LS-CON-001 {n_revoked} of {n_known} users have no valid consent to '{purpose}' and would be deleted, with"
            f" {n_before} in the 30 days before more than consents_max_withdrawn_share {max_share}: check that the"
            " table of consents is complete; if it is, run once with a greater consents_max_withdrawn_share; nothing"
            " was changed"
        )
    if n_revoked:
        is_accepted = n_revoked > ACCEPTED_SHARE * n_known  # by a greater max_share, once
        recent[today] = recent.get(today, 0) + (0 if is_accepted else n_revoked)
        entries = enter(warehouse, "without consent")
        facts = {"consents": consents, "revocations": json.dumps(recent), "ledger": ledger_of(warehouse.path).mark()}
        erase_rows(warehouse, "without consent", entries, facts)
        log_progress("consents", f"LS-CON-004 {n_revoked} users had no valid consent to '{purpose}': they were erased")
    else:
        with warehouse.transaction():
            warehouse.run(warehouse.created)
            warehouse.record("consents", consents)


def recent_revocations(warehouse: Warehouse, today: str) -> dict[str, int]:
    """The numbers of users who were erased for lack of consent in the 30 days before today, by day."""
    first = f"{date.fromisoformat(today) - timedelta(days=30):%Y-%m-%d}"
    return {day: n for day, n in json.loads(warehouse.recorded("revocations") or "{}").items() if day >= first}


def apply_ledger(warehouse: Warehouse, today: str | None = None, is_restored: bool = False) -> None:
    """Erase whom the ledger names and the warehouse has not erased yet; log published events.

    A restored or copied warehouse does not know newer erasures, nor does one whose erasure was killed. today: the run
    clock, YYYY-MM-DD, to be entered; is_restored: with the proof of an erasure, and if the ledger was rebuilt since the
    backup, all whom it names as erased. Raises ValueError LS-LED-004 for the ledger of another warehouse, and as
    Ledger.unapplied and, if not is_restored, Ledger.check_published.
    """
    session, ledger, applied = warehouse.session, ledger_of(warehouse.path), warehouse.recorded("ledger")
    warehouse.run(warehouse.created)
    is_rebuilt = is_restored and not ledger.is_of(applied)
    entries = ledger.entries() if is_rebuilt else ledger.unapplied(applied)
    if not is_restored:
        ledger.check_published()
    users = [entry for entry in entries if entry["kind"] in REASONS and (entry["kind"] == "erased" or not is_rebuilt)]
    tombstones = "select user_digest, salt, erased_at::varchar from erased_users order by erased_at, user_digest"
    known = session.execute(tombstones).fetchall() if is_rebuilt or applied is None else []
    if len({entry["salt"] for entry in users} | {salt for _, salt, _ in known}) > 1:
        raise ValueError(
            f"LS-LED-004 the ledger {ledger.path} is that of another warehouse: put the warehouse beside its own ledger"
        )
    if users:
        erase_again(warehouse, users, is_restored)
    log_published_events(warehouse, [entry["value"] for entry in entries if entry["kind"] == "published"])
    there = {entry["value"] for entry in users}
    ledger.append([entry_of("erased", *row) for row in known if row[0] not in there])
    newest = max(today or "", warehouse.recorded("clock") or "")
    if newest > (ledger.newest("clock") or ""):
        ledger.append([{"kind": "clock", "value": newest}])
    with warehouse.transaction():
        warehouse.record("ledger", ledger.mark())
    if is_restored and users:
        session.execute(f"create or replace temp table {USERS} as select distinct user_id from named_users")
        leave_no_trace(warehouse, is_published=False)


def erase_again(warehouse: Warehouse, users: list[Entry], is_restored: bool) -> None:
    """Erase the users of the entries who are in a table; names them in named_users."""
    name_users(warehouse, users)
    cleared = "they were erased again" if is_restored else "the next life-stage erase clears the freed blocks too"
    for kind in REASONS:
        of_table = f"select user_id from named_users where kind = '{kind}'"
        warehouse.session.execute(f"create or replace temp table {USERS} as {of_table}")
        of_kind = [entry for entry in users if entry["kind"] == kind]
        if of_kind and (n_erased := erase_rows(warehouse, kind, of_kind)):
            log_progress("ledger", f"LS-LED-003 deleted {n_erased} users, {kind} after this backup: {cleared}")


def name_users(warehouse: Warehouse, entries: list[Entry]) -> None:
    """The temporary table named_users: user_id and kind of the entries whose users are in a table."""
    digests, kinds = ([entry[key] for entry in entries] for key in ("value", "kind"))
    sql = f"""
        create or replace temp table named_users as
        with
            users as (select distinct user_id from ({users_of(warehouse)})),
            digests as (select user_id, sha256(concat(?::varchar, user_id)) as digest from users)
        select distinct digests.user_id, entries.kind
        from digests inner join (select unnest(?::varchar[]) as digest, unnest(?::varchar[]) as kind) as entries
        on digests.digest = entries.digest
    """
    warehouse.session.execute(sql, [entries[0]["salt"], digests, kinds])


def log_published_events(warehouse: Warehouse, run_ids: list[str]) -> None:
    """Log the published events that a restored warehouse does not know: readers have acted on them.

    run_ids: runs that have published since; the set that stands has to be of one of them.
    """
    manifest = paths.read_manifest(paths.published())
    if manifest is None or manifest["run_id"] not in run_ids or not warehouse.has("stage_events"):
        return
    file = sql_literal(glob.escape(str(paths.published() / "stage_events.parquet")))
    unknown = f"from read_parquet({file}) where event_no > (select coalesce(max(event_no), 0) from stage_events)"
    with warehouse.transaction():
        if warehouse.values(f"insert into stage_events by name {unknown}") != [0]:
            warehouse.run(["delete from node_hashes"])


def rebuild_ledger(warehouse: Warehouse) -> None:
    """Write the ledger again: the users in the lines of the old one that can be read, and what the warehouse knows.

    The clock is that of the warehouse, so a wrong clock ends with a restored backup. The old file is kept.
    """
    ledger = ledger_of(warehouse.path)
    users = [entry for entry in ledger.readable() if entry["kind"] in REASONS and "salt" in entry]
    new = Ledger(ledger.path.with_name(f"{ledger.path.name}.new"))
    new.path.unlink(missing_ok=True)
    new.append(users)
    if ledger.path.exists():
        os.link(ledger.path, ledger.path.with_name(f"{ledger.path.name}.before_{warehouse.run_id}"))
    os.replace(new.path, ledger.path)
    write_mark(paths.published(), ledger.mark())
    warehouse.run([*warehouse.created, "delete from project_state where key = 'ledger'"])
    apply_ledger(warehouse)
    write_mark(paths.published(), ledger.mark())
    print(f"wrote {ledger.path} with {len(users)} users of the old one: repeat the erasures that it does not know")


def enter(warehouse: Warehouse, kind: str) -> list[Entry]:
    """Enter the users of USERS into the ledger; returns their entries.

    This comes before their rows are deleted, so that the next run finishes an erasure that was killed.
    """
    ledger = ledger_of(warehouse.path)
    (salt,) = warehouse.values("select max(salt) from erased_users")
    salt = salt or next((entry["salt"] for entry in ledger.entries() if "salt" in entry), warehouse.run_id)
    digests = warehouse.values(f"select sha256(concat(?::varchar, user_id)) from {USERS} order by 1", salt)
    entries = [entry_of(kind, digest, salt, warehouse.started_at) for digest in digests]
    ledger.append(entries)
    return entries


def entry_of(kind: str, digest: str, salt: str, at: str) -> Entry:
    """A ledger entry of a user."""
    return {"kind": kind, "value": digest, "salt": salt, "at": at}


def erase_rows(warehouse: Warehouse, kind: str, entries: list[Entry], facts: dict[str, str] | None = None) -> int:
    """Delete the users of USERS from published files and tables; returns how many of them were in a table.

    Published files come first: after a kill in between, the operation must run again. The tables follow in one
    transaction, with tombstones of the erased (entries, see enter) and facts for project_state. Raises ValueError
    LS-ERA-002.
    """
    session = warehouse.session
    warehouse.run(warehouse.created)
    try:
        unpublish(session, paths.published(), USERS)
    except (OSError, ValueError, duckdb.Error) as error:
        raise ValueError(f"LS-ERA-002 {error}: {BEFORE}") from None
    tables = warehouse.tables_with("user_id")
    (n_known,) = warehouse.values(f"select count(distinct user_id) from ({users_of(warehouse)}) where {THEIRS}")
    with warehouse.transaction():
        for entry in entries if kind == "erased" else ():
            session.execute(TOMBSTONE, [entry["value"], entry["salt"], entry["at"]])
        for key, value in (facts or {}).items():
            warehouse.record(key, value)
        if warehouse.has("stg_action_rows"):
            reject_actions(warehouse, REASONS[kind])
        if warehouse.has("checkout_queries"):
            queries = f"select query_id from checkout_queries where {THEIRS}"
            for table in warehouse.tables_with("query_id"):
                if table not in tables:
                    session.execute(f"delete from {table} where query_id in ({queries})")
        for table in tables:
            session.execute(f"delete from {table} where {THEIRS}")
        erase_unused_terms(warehouse)
        warehouse.rebuild_derived()
    run_log.n_erased += n_known
    return n_known


def users_of(warehouse: Warehouse) -> str:
    """SQL: the user ids of all tables."""
    tables = warehouse.tables_with("user_id")
    of_tables = [f"select cast(user_id as varchar) as user_id from {table}" for table in tables]
    return " union all ".join(of_tables) or "select null::varchar as user_id where false"


def reject_actions(warehouse: Warehouse, reason: str) -> None:
    """Replace the users' actions by rejected rows with file and reason alone; content hashes of months stay."""
    session = warehouse.session
    session.execute(HASHES.format(action_hash=warehouse.action_hash))
    for table in ("action_months", "month_calendar"):
        if warehouse.has(table):
            session.execute(UNCOUNT.format(table=table, counts=COUNTS))
    session.execute(REJECT, [reason])


def erase_unused_terms(warehouse: Warehouse) -> None:
    """Erase search terms that no remaining action holds."""
    if not warehouse.has("stg_action_rows", "search_terms", "search_words", "text_ages", "stg_item_rows"):
        return
    warehouse.session.execute(UNUSED_TERMS)
    for table in warehouse.tables_with("search_term"):
        if table not in ('"stg_action_rows"', '"search_terms"'):
            unused = "search_term not in (select search_term from search_terms)"
            warehouse.session.execute(f"delete from {table} where {unused}")
    warehouse.session.execute(UNUSED_TEXTS)
