"""Defines the schema as a list of numbered steps.

A released step never changes, because existing files have already run it. A change of the schema is a new last step.
"""

import sqlite3
from collections.abc import Iterator

STEPS = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, revision INTEGER NOT NULL,
        document TEXT NOT NULL, status TEXT NOT NULL, due_at TEXT, updated_at TEXT NOT NULL,
        user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, kind TEXT NOT NULL, job_type TEXT, question_id TEXT,
        channel TEXT NOT NULL, shard INTEGER NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX runs_open ON runs (tenant_id, status) WHERE status IN ('pending', 'processing');
    CREATE INDEX runs_by_channel ON runs (channel, updated_at);
    CREATE INDEX runs_by_user ON runs (user_id, created_at DESC, id DESC);
    CREATE INDEX runs_due ON runs (shard, due_at, id) WHERE due_at IS NOT NULL AND status IN ('pending', 'processing');
    CREATE INDEX runs_not_shown ON runs (shard, due_at, id)
        WHERE due_at IS NOT NULL AND status IN ('completed', 'failed', 'cancelled');
    CREATE INDEX runs_expiring ON runs (expires_at);
    CREATE TABLE run_parts (
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, content TEXT NOT NULL, number INTEGER NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (run_id, content, number)
    ) WITHOUT ROWID;
    CREATE TABLE idempotency (
        key_hash TEXT PRIMARY KEY, body_hash TEXT NOT NULL, run_id TEXT NOT NULL, expires_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_expiring ON idempotency (expires_at);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, data TEXT NOT NULL, attributes TEXT NOT NULL,
        published_at REAL NOT NULL, deliver_at REAL NOT NULL, deliveries INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX messages_by_delivery ON messages (topic, deliver_at);
    CREATE TABLE tasks (
        name TEXT PRIMARY KEY, body TEXT NOT NULL, deliver_at REAL, deliveries INTEGER NOT NULL DEFAULT 0,
        forget_at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX tasks_by_delivery ON tasks (deliver_at) WHERE deliver_at IS NOT NULL;
    CREATE INDEX tasks_to_forget ON tasks (forget_at);
    CREATE TABLE dead_letters (
        message_id TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL, data TEXT NOT NULL,
        attributes TEXT NOT NULL, kept_at REAL NOT NULL, PRIMARY KEY (source, message_id)
    ) WITHOUT ROWID;
    CREATE TABLE ended_sessions (session_hash TEXT PRIMARY KEY, expires_at TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE directory (
        collection TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (collection, id)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE tasks ADD COLUMN queue TEXT NOT NULL DEFAULT 'rechecks';
    DROP INDEX tasks_by_delivery;
    CREATE INDEX tasks_by_delivery ON tasks (queue, deliver_at) WHERE deliver_at IS NOT NULL;
    """,
    "CREATE TABLE durations (key TEXT PRIMARY KEY, weights TEXT NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE usage (
        tenant_id TEXT NOT NULL, day TEXT NOT NULL, user_id TEXT NOT NULL, model TEXT NOT NULL,
        deployment TEXT NOT NULL, runs INTEGER NOT NULL, failed INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL, cost INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, day, user_id, model, deployment)
    ) WITHOUT ROWID;
    CREATE INDEX usage_by_user ON usage (user_id);
    CREATE INDEX usage_by_day ON usage (day);
    CREATE TABLE budgets (
        tenant_id TEXT NOT NULL, period TEXT NOT NULL, reserved INTEGER NOT NULL, spent INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, period)
    ) WITHOUT ROWID;
    CREATE INDEX budgets_by_period ON budgets (period);
    """,
    """
    CREATE INDEX runs_by_kind ON runs (user_id, kind, created_at DESC, id DESC);
    CREATE INDEX runs_by_status ON runs (user_id, kind, status, job_type, created_at DESC, id DESC);
    CREATE INDEX runs_by_question ON runs (user_id, question_id, kind, status, job_type, created_at DESC, id DESC)
        WHERE question_id IS NOT NULL;
    DROP INDEX runs_by_channel;
    CREATE INDEX runs_by_channel ON runs (channel, updated_at, id, tenant_id);
    CREATE INDEX ended_sessions_expiring ON ended_sessions (expires_at);
    """,
    """
    CREATE TABLE webhooks (organization_id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE webhook_deliveries (
        id TEXT PRIMARY KEY, revision INTEGER NOT NULL, document TEXT NOT NULL, organization_id TEXT NOT NULL,
        endpoint_id TEXT NOT NULL, run_id TEXT, chain TEXT NOT NULL, sequence INTEGER NOT NULL, at TEXT NOT NULL,
        shard INTEGER NOT NULL, due_at TEXT, expires_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX webhook_deliveries_due ON webhook_deliveries (shard, due_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX webhook_deliveries_by_chain ON webhook_deliveries (chain, sequence);
    CREATE INDEX webhook_deliveries_by_run ON webhook_deliveries (run_id);
    CREATE INDEX webhook_deliveries_by_endpoint
        ON webhook_deliveries (organization_id, endpoint_id, at DESC, id DESC);
    CREATE INDEX webhook_deliveries_expiring ON webhook_deliveries (expires_at);
    """,
    """
    CREATE TABLE tallies (
        tenant_id TEXT NOT NULL, day TEXT NOT NULL, user_id TEXT NOT NULL, model TEXT NOT NULL,
        deployment TEXT NOT NULL, name TEXT NOT NULL, runs INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, day, user_id, model, deployment, name)
    ) WITHOUT ROWID;
    CREATE INDEX tallies_by_user ON tallies (user_id);
    CREATE INDEX tallies_by_day ON tallies (day);
    CREATE INDEX runs_by_tenant ON runs (tenant_id, created_at DESC, id DESC);
    """,
    # A row of a table WITHOUT ROWID may take a quarter of a page; the rest of a document stood in pages of its own.
    """
    CREATE TABLE new_runs (
        id TEXT PRIMARY KEY NOT NULL, revision INTEGER NOT NULL,
        document TEXT NOT NULL, status TEXT NOT NULL, due_at TEXT, updated_at TEXT NOT NULL,
        user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, kind TEXT NOT NULL, job_type TEXT, question_id TEXT,
        channel TEXT NOT NULL, shard INTEGER NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL
    );
    INSERT INTO new_runs SELECT * FROM runs;
    DROP TABLE runs;
    ALTER TABLE new_runs RENAME TO runs;
    CREATE INDEX runs_open ON runs (tenant_id, status, id) WHERE status IN ('pending', 'processing');
    CREATE INDEX runs_by_channel ON runs (channel, updated_at, id, tenant_id);
    CREATE INDEX runs_due ON runs (shard, due_at, id) WHERE due_at IS NOT NULL AND status IN ('pending', 'processing');
    CREATE INDEX runs_not_shown ON runs (shard, due_at, id)
        WHERE due_at IS NOT NULL AND status IN ('completed', 'failed', 'cancelled');
    CREATE INDEX runs_expiring ON runs (expires_at);
    CREATE INDEX runs_by_kind ON runs (user_id, kind, created_at DESC, id DESC);
    CREATE INDEX runs_by_status ON runs (user_id, kind, status, job_type, created_at DESC, id DESC);
    CREATE INDEX runs_by_question ON runs (user_id, question_id, kind, status, job_type, created_at DESC, id DESC)
        WHERE question_id IS NOT NULL;
    CREATE INDEX runs_by_tenant ON runs (tenant_id, created_at DESC, id DESC);
    CREATE TABLE new_tasks (
        name TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, deliver_at REAL, deliveries INTEGER NOT NULL DEFAULT 0,
        forget_at REAL NOT NULL, queue TEXT NOT NULL DEFAULT 'rechecks'
    );
    INSERT INTO new_tasks SELECT * FROM tasks;
    DROP TABLE tasks;
    ALTER TABLE new_tasks RENAME TO tasks;
    CREATE INDEX tasks_by_delivery ON tasks (queue, deliver_at) WHERE deliver_at IS NOT NULL;
    CREATE INDEX tasks_to_forget ON tasks (forget_at);
    """,
    # Triggers count exactly for every process, and for an earlier release that writes to the file again.
    """
    CREATE TABLE run_counts (
        user_id TEXT NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL, job_type TEXT NOT NULL, runs INTEGER NOT NULL,
        PRIMARY KEY (user_id, kind, status, job_type)
    ) WITHOUT ROWID;
    INSERT INTO run_counts
        SELECT user_id, kind, status, coalesce(job_type, ''), count(*) FROM runs GROUP BY 1, 2, 3, 4;
    CREATE TRIGGER runs_count_new AFTER INSERT ON runs BEGIN
        INSERT INTO run_counts VALUES (NEW.user_id, NEW.kind, NEW.status, coalesce(NEW.job_type, ''), 1)
            ON CONFLICT DO UPDATE SET runs = runs + 1;
    END;
    CREATE TRIGGER runs_count_deleted AFTER DELETE ON runs BEGIN
        UPDATE run_counts SET runs = runs - 1 WHERE (user_id, kind, status, job_type)
            = (OLD.user_id, OLD.kind, OLD.status, coalesce(OLD.job_type, ''));
        DELETE FROM run_counts WHERE runs = 0 AND (user_id, kind, status, job_type)
            = (OLD.user_id, OLD.kind, OLD.status, coalesce(OLD.job_type, ''));
    END;
    CREATE TRIGGER runs_count_changed AFTER UPDATE OF status ON runs WHEN NEW.status != OLD.status BEGIN
        INSERT INTO run_counts VALUES (NEW.user_id, NEW.kind, NEW.status, coalesce(NEW.job_type, ''), 1)
            ON CONFLICT DO UPDATE SET runs = runs + 1;
        UPDATE run_counts SET runs = runs - 1 WHERE (user_id, kind, status, job_type)
            = (OLD.user_id, OLD.kind, OLD.status, coalesce(OLD.job_type, ''));
        DELETE FROM run_counts WHERE runs = 0 AND (user_id, kind, status, job_type)
            = (OLD.user_id, OLD.kind, OLD.status, coalesce(OLD.job_type, ''));
    END;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Runs the steps that the file has not run yet. Several processes may do so at once: a lock orders them."""
    if _version(connection) == len(STEPS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number, step in enumerate(STEPS[_version(connection) :], start=_version(connection) + 1):
            for statement in statements(step):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a step that copies the runs leaves a log as large as they


def statements(step: str) -> Iterator[str]:
    """Yields the statements of a step. The body of a trigger has semicolons of its own."""
    statement = ""
    for piece in step.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
