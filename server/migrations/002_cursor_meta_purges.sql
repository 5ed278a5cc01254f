-- What the contract needs beyond the specification's schema.

-- Serves a page of a channel's history: `channel_id = ? AND id < ? ORDER BY id DESC` is one seek and a walk. The index
-- on created_at cannot: SQLite would sort the whole channel for every page. Soft-deleted messages are not in it, so a
-- page never steps over them; queries must say `deleted = 0` literally for SQLite to use it.
CREATE INDEX idx_messages_live ON messages(channel_id, id) WHERE deleted = 0;

-- Facts about the store itself, by name:
--   high_water_id   the largest id ever given out, so that deleting the newest rows does not let ids go back
--   created_at      when the store was created (or first met this migration)
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('created_at', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

-- Deleted channels whose messages are still being reclaimed. From the moment a channel is listed here, it and its
-- messages are invisible; its row in `channels` goes last, because the messages refer to it.
CREATE TABLE purges (
    channel_id TEXT PRIMARY KEY
) WITHOUT ROWID;
