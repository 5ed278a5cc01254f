-- Who belongs to the community, and which challenges were answered.

ALTER TABLE users ADD COLUMN is_bot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN is_member INTEGER NOT NULL DEFAULT 1;

-- Lists the members, past those who are none. Queries must say `is_member = 1` literally for SQLite to use it.
CREATE INDEX idx_users_members ON users(id) WHERE is_member = 1;

-- Challenges that were answered, so that none is answered twice; swept when they expire. `challenge` is 16 hexadecimal
-- digits of its slot (a minute, counted from 1970), 64 of the SHA-256 of the public key, 8 of its number: in this order, a
-- sweep begins at the first row, and the newest of a key in a slot is one seek.
CREATE TABLE used_challenges (
    challenge  TEXT PRIMARY KEY,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;
